"""A small world around a refresher: a log, a fleet of two that asks, and fits that are at hand."""

from dataclasses import replace

from cloud_worker.config.cloud import CloudConfig
from cloud_worker.fleet.quarantines import Quarantines
from cloud_worker.log.distillation_log import DistillationLog
from cloud_worker.refresh.refresher import RefreshLoop
from cloud_worker.releases.publisher import Publisher
from cloud_worker.state.store import ReleaseRow, Store
from cloud_worker.teachers.base import TeacherAnswer
from cloud_worker.training.spec import Fitted
from edge_agent.testing.tiny_releases import tiny_release
from router.core.domain.query import Query
from router.core.domain.record import Source, unit_interval
from router.core.domain.task import Mode, Task
from router.core.learning.held_out import LabelMeasures
from router.core.learning.training_rows import calibrating
from router.students.onnx_student import Student

WORDS = {"light": "lights", "lamp": "lights", "song": "music", "tune": "music", "noon": "clock", "hour": "clock"}
OUTSIDE = "fog"  # no student knows it: its queries escalate


class World:
    """A log, a fleet of two that asks, and a refresher whose fits are at hand."""

    def __init__(self, folder, record):
        answers = folder / "answers.jsonl"
        answers.write_text('{"text": "lamp", "label": "lights"}\n')
        self.config = CloudConfig(
            data=folder,
            refresh={"min_rows": 100, "growth": 1.5, "patience_rows": 1500},
            teachers=[{"name": "big", "kind": "recorded", "answers": str(answers)}],
            tasks=[{"name": "home", "reference": "big", "exploration": {"floor": 0.05}}],
        )
        self.store = Store(self.config.store_url)
        self.store.declare_tasks(self.config.tasks)
        self.log = DistillationLog(self.config.log_folder)
        self.publisher = Publisher(self.config.releases_folder)
        digest = self.publisher.publish(_empty(self.config.task("home")), {})
        self.store.add_release(ReleaseRow("home", 0, "champion", digest, 0.0))
        self.store.update_task("home", manifest_sha256=digest)
        self.folder, self.record, self.asked = folder, record, 0
        self.words, self.said = WORDS, WORDS  # what a fitted student knows, and what its fit claims
        self.truth = {**WORDS, OUTSIDE: "weather"}  # what the reference says
        self.own_truth = {}  # by device: what the reference says to that one, whatever is asked
        self.asks = [*sorted(WORDS), OUTSIDE]
        self.fitted_rows = []
        self.recipes = []  # of every fit
        self.extras = {}  # fields of every row
        self.broken = False
        self.remark = ""  # of every fit
        self.wavering = lambda record: False  # whether the reference's second answer is another one
        self.start()

    def start(self):
        """As after a kill: everything comes from the store and the folders."""
        self.refresher = RefreshLoop(self.config, self.fit, self.ask_again)

    def ask_again(self, task, records):
        answers = ["else" if self.wavering(record) else record.answer for record in records]
        return [TeacherAnswer(text, record.teacher_version) for text, record in zip(answers, records, strict=True)]

    @property
    def state(self):
        return self.store.task_state("home")

    def fit(self, task, rows, recipe):
        assert self.state.log_version_seen < self.log.version(), "a version was seen before its fit was done"
        self.fitted_rows.append(list(rows))
        self.recipes.append(recipe)
        if self.broken:
            raise RuntimeError("no memory")
        manifest, files = tiny_release(self.config.task(task), 1, self.words)
        folder = self.folder / "scratch"
        claims = tiny_release(self.config.task(task), 1, self.said)[1]
        folder.mkdir(exist_ok=True)
        for name, data in claims.items():
            (folder / name).write_bytes(data)
        del files["golden.jsonl"]
        held = calibrating(rows)
        reading = Student(folder, manifest.student).read([row.text for row in held])
        measures = LabelMeasures(manifest.student.labels, reading)
        return Fitted(manifest.student, files, held, measures, sorted(WORDS), self.remark)

    def ask(self, count):
        """The fleet asks; what reaches the cloud comes to the log as one batch."""
        state, rows, apart = self.state, [], Quarantines(self.store.engine).of("home")
        student = threshold = None
        manifest = self.publisher.manifest("home", state.champion)
        if manifest.student is not None:
            student = Student.load(self.publisher.path("home", state.champion), manifest)
            threshold = manifest.policy.threshold
        for _ in range(count):
            position, self.asked = self.asked, self.asked + 1
            text = self.asks[position % len(self.asks)]
            caller = f"device-{position % 2}"
            prediction = None if student is None else student.predict(Query("", "home", text))
            free = state.mode is Mode.SERVE and state.watch != "alarmed"
            free = free and not (caller in apart and apart[caller].lasts)
            kept = free and prediction is not None and prediction.score >= threshold
            explored = unit_interval("draw", caller, str(position)) < state.exploration
            if explored or not kept:
                rows.append(
                    self.record(
                        position,
                        text,
                        self.own_truth.get(caller, self.truth[text]),
                        caller=caller,
                        local_answer=None if prediction is None else prediction.answer,
                        local_score=None if prediction is None else prediction.score,
                        threshold=threshold,
                        **self.extras,
                        source=Source.TAUGHT if kept else Source.ESCALATED,
                        kept=kept,
                        explored=explored,
                        release=state.champion,
                        exploration=state.exploration,
                        propensity=state.exploration if kept else 1.0,
                    )
                )
        self.log.append(rows, "spool", self.asked)

    def ask_and_step(self, count):
        self.ask(count)
        self.refresher.step()

    def until_certified(self):
        for _ in range(30):
            self.ask_and_step(100)
            if self.publisher.manifest("home", self.state.champion).student is not None:
                return
        raise AssertionError(f"nothing was certified: {self.store.releases('home')}")


def _empty(task):
    return replace(tiny_release(Task(task.name, reference="big"), 0, WORDS)[0], student=None, golden=None, files={})
