from cloud_worker.log.spool_records import body_of, record_of
from router.io.sealed import unseal


def test_a_record_comes_back_as_it_was(record):
    made = record(1, text='said "place":7, ,"place":8, and ,"sequence_number":9,', sequence_number=5)
    assert record_of(body_of(made)) == made


def test_a_number_is_called_on_disk_as_it_always_was(record):
    body = unseal(body_of(record(1, sequence_number=5)))
    assert b',"place":5' in body
    assert b"sequence_number" not in body
