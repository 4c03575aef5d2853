from cloud_worker.log.record_bodies import body_of, record_of
from router.io.sealed import seal, unseal


def test_a_record_comes_back_as_it_was(record):
    made = record(1, text='said "place":7, and ,"place":8,', sequence_number=5)
    assert record_of(body_of(made)) == made


def test_a_body_of_an_older_version_keeps_its_number(record):
    made = record(1, text='said ,"place":8,', sequence_number=5)
    older = seal(unseal(body_of(made)).replace(b',"sequence_number":5', b',"place":5'))
    assert b',"place":5' in older
    assert record_of(older) == made
