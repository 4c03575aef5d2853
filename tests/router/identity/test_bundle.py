import pytest

from router.core.errors import ConfigError
from router.identity.bundle import IDENTITY_FILE, Bundle, read_bundle, write_bundle

KEY = b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
CHAIN = b"".join(b"-----BEGIN CERTIFICATE-----\n%d\n-----END CERTIFICATE-----\n" % number for number in range(2))
ROOT = b"-----BEGIN CERTIFICATE-----\nroot\n-----END CERTIFICATE-----\n"


def test_an_identity_is_read_as_it_was_written_and_others_can_not_read_it(tmp_path):
    write_bundle(tmp_path / "id", Bundle(KEY, CHAIN, ROOT))
    assert read_bundle(tmp_path / "id") == Bundle(KEY, CHAIN, ROOT)
    assert (tmp_path / "id" / IDENTITY_FILE).stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "id").stat().st_mode & 0o777 == 0o700


def test_a_key_that_others_can_read_is_refused(tmp_path):
    write_bundle(tmp_path, Bundle(KEY, CHAIN, ROOT))
    (tmp_path / IDENTITY_FILE).chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        read_bundle(tmp_path)


@pytest.mark.parametrize("bundle", [Bundle(b"", CHAIN, ROOT), Bundle(KEY, b"", ROOT), Bundle(KEY, CHAIN, b"")])
def test_half_an_identity_is_refused(tmp_path, bundle):
    write_bundle(tmp_path, bundle)
    with pytest.raises(ConfigError, match="no whole identity"):
        read_bundle(tmp_path)


def test_a_missing_identity_names_its_file(tmp_path):
    with pytest.raises(ConfigError, match=r"identity\.pem: can't be read"):
        read_bundle(tmp_path / "none")
