"""Programs that mypy refuses: at every line that ends in a comment ``refused: CODE``, and nowhere else. Never run."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from cloud_worker.teachers.base import Question, Teacher, TeacherAnswer
from router import AsyncClient, Client, Query
from router.backtest.logs.reader import Columns, read_log
from router.backtest.run import Plan, run
from router.core.domain.agreement import Agree

# Asking


def ask(client: Client) -> None:
    client.ask("lights on", "home", deadlin=2.0)  # refused: call-arg
    client.ask("lights on")  # refused: call-arg
    client.ask("lights on", "home", route="local_only")  # refused: arg-type
    client.answer("lights on")  # refused: arg-type
    client.feedback("q", "home", "maybe")  # refused: arg-type
    client.ask("lights on", "home").confidence + 1  # refused: operator
    client.ask("lights on", "home").provenance.teir  # refused: attr-defined
    Client("127.0.0.1:7701", True)  # refused: call-arg
    Query("", "home", "lights on").text = "off"  # refused: misc


async def ask_async(client: AsyncClient) -> str:
    answer = client.ask("lights on", "home")
    return str(answer.text)  # refused: attr-defined


# A teacher of one's own


class SaysTexts:
    name = version = "big"
    threads = 1

    def answer(self, questions: Sequence[Question]) -> Iterator[str]:
        return (question.text for question in questions)


class HasNoVersion:
    name = "big"
    threads = 1

    def answer(self, questions: Sequence[Question]) -> Iterator[TeacherAnswer]:
        return iter(())


texts: Teacher = SaysTexts()  # refused: assignment
unversioned: Teacher = HasNoVersion()  # refused: assignment
answer = TeacherAnswer("yes")  # refused: call-arg


# A judge of one's own


def how_alike(one: str, other: str) -> float:
    return float(one == other)


def knows_the_question(asked: str, one: str, other: str) -> bool:
    return one == other


alike: Agree = how_alike  # refused: assignment
asking: Agree = knows_the_question  # refused: assignment


# A backtest


def replay(path: Path) -> None:
    log = read_log(path, Columns(prompt="prompt"))  # refused: call-arg
    run(log, Plan(promises=0.02))  # refused: arg-type
    run(log, Plan(judge="number"))  # refused: arg-type
    run(path, Plan())  # refused: arg-type
    run(log, Plan())[0].promises  # refused: attr-defined
