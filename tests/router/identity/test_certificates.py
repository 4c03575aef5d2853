import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.errors import BadInputError
from router.identity.certificates import (
    check_renewal,
    key_from_pem,
    key_of_request,
    key_sha256,
    key_to_pem,
    new_key,
    read_certificate,
    request_for,
    sign_renewal,
)

KEY, OTHER = new_key(), new_key()


def test_a_key_and_a_request_are_read_back():
    assert key_from_pem(key_to_pem(KEY)).private_numbers() == KEY.private_numbers()
    assert (
        key_sha256(key_of_request(request_for(KEY))) == key_sha256(KEY.public_key()) != key_sha256(OTHER.public_key())
    )


@given(st.binary(max_size=400))
def test_what_is_no_request_and_no_certificate_is_refused(data):
    with pytest.raises(BadInputError, match="certificate_request"):
        key_of_request(data)
    with pytest.raises(BadInputError, match="certificate"):
        read_certificate(data)


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_request_with_another_byte_is_refused_or_means_the_same(at, change):
    request = bytearray(request_for(KEY))
    request[at % len(request)] ^= change
    try:
        read = key_of_request(bytes(request))
    except BadInputError:
        return
    assert key_sha256(read) == key_sha256(KEY.public_key())  # the count of a signature's unused bits says nothing


def test_the_proof_of_a_renewal_holds_for_one_key_and_one_request():
    request, another = request_for(OTHER), request_for(OTHER)
    proof = sign_renewal(KEY, request)
    check_renewal(KEY.public_key(), request, proof)
    for key, asked, said in ((OTHER, request, proof), (KEY, another, proof), (KEY, request, b"")):
        with pytest.raises(BadInputError, match="proof"):
            check_renewal(key.public_key(), asked, said)
