"""Programs of users, as they may be written; mypy accepts every line. Never run."""

from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import assert_type

from cloud_worker.startup.in_process import serving
from cloud_worker.teachers.base import NoAnswer, NotNow, Question, Reply, Teacher, TeacherAnswer
from router import Answer, AsyncClient, CallerError, Client, Consent, HeadraceError, Message, Query, Route, Tier
from router.backtest.logs.reader import Columns, How, read_log
from router.backtest.run import Plan, Result, run
from router.core.domain.agreement import Agree, exact
from router.core.domain.task import Judge, Task

# Asking


def ask(targets: list[str]) -> str:
    with Client(targets, insecure=True, deadline=5.0) as client:
        answer = client.ask("lights on", "home", deadline=2.0, route=Route.LOCAL_ONLY, consent=Consent.REFUSED, top_k=3)
        assert_type(answer, Answer)
        assert_type(answer.provenance.tier, Tier)
        assert_type(answer.confidence, float | None)
        client.feedback(answer.query_id, "home", "wrong", correction="light_on")
        chat = client.answer(Query("", "home", messages=(Message("user", "hello"),)))
        return answer.text + chat.text


def ask_or_say_why(client: Client) -> str:
    try:
        return client.ask("lights on", "home").text
    except CallerError as error:
        assert_type(error.exit_code, int)
        return str(error)
    except HeadraceError:
        return "later"


async def ask_many(texts: Sequence[str]) -> AsyncIterator[Answer]:
    async with AsyncClient("127.0.0.1:7701", insecure=True) as client:
        for text in texts:
            yield await client.ask(text, "home")


# A teacher of one's own


class Recalling:
    def __init__(self, name: str, known: dict[str, str]) -> None:
        self.name, self.version, self.threads = name, f"{name}-1", 4
        self._known = known

    def answer(self, questions: Sequence[Question]) -> Iterator[Reply | NotNow]:
        for question in questions:
            known = self._known.get(question.text)
            yield NoAnswer("is unknown", field="text") if known is None else TeacherAnswer(known, self.version, usd=0.1)


async def serve(folder: Path) -> None:
    teacher: Teacher = Recalling("big", {})
    async with serving(folder, [teacher], [Task("home", reference=teacher.name)]) as target:
        assert_type(target, str)


# A judge of one's own


def same_length(one: str, other: str) -> bool:
    return len(one) == len(other)


judges: dict[str, Agree] = {"length": same_length, "exact": exact}


# A backtest


def local_share(path: Path, told: list[float]) -> float:
    log = read_log(path, Columns(text="prompt", answer="response"), 1000, skip_bad=True, how=How("columns"))
    plan = Plan(promises=(0.01, 0.05), judge=Judge.NUMBER, repeat=3)
    results = run(log, plan, lambda stage, share: told.append(share))
    assert_type(results, list[Result])
    return max(result.promise for result in results)
