"""What a full disk means for a command of the cloud: the disk of its data, unless it is that of what it says."""

import pytest
import typer

from cloud_worker.commands.options import errors_as_exit_codes


def test_a_full_disk_of_the_data_is_the_operators_though_the_system_names_no_file(capsys):
    with pytest.raises(typer.Exit) as ended, errors_as_exit_codes(), open("/dev/full", "wb", 0) as full:  # noqa: PTH123 - unbuffered
        full.write(b"row")
    assert ended.value.exit_code == 80
    assert "No space left on device; make room on that disk" in capsys.readouterr().err
