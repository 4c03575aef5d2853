"""What tests of the cloud share: databases for the fleet's state, an encoder made in a second, records of a log."""

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from sqlalchemy import create_engine, event
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool, Pool

SECONDS = 60.0  # that a server may take to answer first
NOBODY = 65534  # PostgreSQL does not run as root


def program(name):
    """Where a program of PostgreSQL's lies; skips without one."""
    found = shutil.which(name) or next(map(str, sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))), None)
    if found is None:
        pytest.skip(f"PostgreSQL is not installed here: no {name}")
    return found


def as_nobody():
    """What lets a command run as somebody who may run PostgreSQL."""
    if os.getuid():
        return []
    if not shutil.which("setpriv"):
        pytest.skip("PostgreSQL does not run as root, and there is no setpriv to become another user")
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--"]


def answers(url):
    """Whether a server takes connections."""
    engine = create_engine(url)
    try:
        engine.connect().close()
    except OperationalError:
        return False
    finally:
        engine.dispose()
    return True


class Server:
    """One PostgreSQL in a folder of its own, on a free port of this machine."""

    def __init__(self, folder):
        self.folder, self.become = Path(folder), as_nobody()
        if self.become:
            os.chown(folder, NOBODY, NOBODY)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.data = self.folder / "data"
        made = [program("initdb"), "-D", self.data, "-U", "headrace", "-A", "trust", "-E", "UTF8", "--no-sync"]
        done = subprocess.run([*self.become, *made], cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        self.start()

    def url(self, database="postgres"):
        """As an operator writes it."""
        return f"postgresql://headrace@127.0.0.1:{self.port}/{database}"

    def driver_url(self, database="postgres"):
        """As SQLAlchemy needs it."""
        return self.url(database).replace("://", "+psycopg://")

    def start(self):
        """Run, until it takes connections."""
        settings = {"port": self.port, "listen_addresses": "127.0.0.1", "unix_socket_directories": ""}
        settings |= {"fsync": "off", "full_page_writes": "off", "max_connections": 200}
        words = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
        with (self.folder / "log").open("ab") as told:
            command = [*self.become, program("postgres"), "-D", self.data, *words]
            self.process = subprocess.Popen(command, cwd=self.folder, stdout=told, stderr=told)
        end = time.monotonic() + SECONDS
        while not answers(self.driver_url()):
            assert self.process.poll() is None, (self.folder / "log").read_text()[-2000:]
            assert time.monotonic() < end, "PostgreSQL does not answer"
            time.sleep(0.05)

    def stop(self):
        """End at once, with whoever is connected."""
        self.process.send_signal(2)  # SIGINT: its fast shutdown
        self.process.wait(SECONDS)

    @contextlib.contextmanager
    def database(self):
        """The URL of an empty database, for as long as the context lasts; then no connection to it is left open."""
        name, opened = f"fleet_{secrets.token_hex(6)}", []

        def keep(connection, _):
            if connection.info.dbname == name:
                opened.append(connection)

        event.listen(Pool, "connect", keep)
        engine = create_engine(self.driver_url(), isolation_level="AUTOCOMMIT", poolclass=NullPool)
        try:
            with engine.connect() as connection:
                connection.exec_driver_sql(f"CREATE DATABASE {name}")
            try:
                yield self.url(name)
            finally:
                event.remove(Pool, "connect", keep)
                for connection in opened:  # of stores that the test has let go of
                    connection.close()
            with engine.connect() as connection:
                connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
        finally:
            engine.dispose()


@pytest.fixture(scope="session")
def postgres():
    """The session's PostgreSQL; skips where none is installed."""
    with tempfile.TemporaryDirectory(prefix="headrace-pg-", ignore_cleanup_errors=True) as folder:
        server = Server(folder)
        yield server
        server.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def state_url(request, tmp_path):
    """URL of an empty database, of each kind that may hold the fleet's state."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'fleet.sqlite'}"
        return
    with request.getfixturevalue("postgres").database() as url:
        yield url


SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
WORDS = {
    "lights": ("lamp", "light", "bright", "dark"),
    "music": ("song", "tune", "loud", "album"),
    "clock": ("alarm", "noon", "hour", "wake"),
}
FILLERS = ("please", "turn", "the", "a", "now", "could", "you", "my")


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory):
    """A pretrained encoder of 16 dimensions, as a folder of safetensors."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("encoder")
    words = [*SPECIAL, *FILLERS, *(word for group in WORDS.values() for word in group)]
    backend = Tokenizer(models.WordPiece({word: position for position, word in enumerate(words)}, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture
def utterances():
    """Makes pairs of text and label, each text of one label's words among fillers."""

    def make(count, seed=0):
        import torch

        generator = torch.Generator().manual_seed(seed)

        def pick(words):
            return words[int(torch.randint(len(words), (1,), generator=generator))]

        labels = sorted(WORDS)
        pairs = []
        for position in range(count):
            label = labels[position % len(labels)]
            words = [pick(FILLERS), pick(FILLERS), pick(WORDS[label]), pick(FILLERS)]
            pairs.append((" ".join(words), label))
        return pairs

    return make
