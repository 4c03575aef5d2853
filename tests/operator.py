"""An operator: a folder with a cloud of certificates, whose commands run in this process."""

import json

from typer.testing import CliRunner

from cloud_worker.cli import app
from cloud_worker.config.cloud import read_config
from cloud_worker.config.testing import cloud_toml
from cloud_worker.state.store import Store

CONFIG = cloud_toml("""[identity]
passphrase_file = "issuing.txt"
""")


def write_cloud(folder, config, passphrases):
    """A folder's ``cloud.toml``, an answer for its teacher, and a file for each passphrase."""
    (folder / "answers.jsonl").write_text('{"text": "lamp", "label": "label 5"}\n')
    (folder / "cloud.toml").write_text(config)
    for name in passphrases:
        (folder / f"{name}.txt").write_text(f"the passphrase of {name}, long enough\n")
        (folder / f"{name}.txt").chmod(0o600)


class Operator:
    """Runs commands in a folder, and reads what they print."""

    def __init__(self, folder, *passphrases):
        self.folder, self.config = folder, folder / "cloud.toml"
        write_cloud(folder, CONFIG, ("issuing", *passphrases))

    def run(self, *words):
        return CliRunner().invoke(app, [*words, "-c", str(self.config)])

    def json(self, *words):
        done = self.run(*words, "--json")
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    def make_ca(self):
        root, words = self.folder / "root", self.folder / "root.txt"
        return self.json("ca", "init", "--root", str(root), "--root-passphrase-file", str(words))

    @property
    def store(self):
        return Store(read_config(self.config).store_url)

    def owner(self, *names):
        """The options that bring owners' keys along."""
        options = (("--offline", self.folder / name) for name in names)
        words = (("--offline-passphrase-file", self.folder / f"{name}.txt") for name in names)
        return [str(word) for pair in (*options, *words) for word in pair]

    def change(self, before, after):
        self.config.write_text(self.config.read_text().replace(before, after))
