"""What the product's code promises everywhere: one mover of states, tasks that exist, views that name their methods."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator

import pytest
from django.urls import URLPattern
from django.utils.module_loading import import_string

from jobs import tasks
from jobs.queue import TIME_LIMITS_S, Task
from jobs.urls import urlpatterns
from tests.repo.source import ROOT, product_modules

WRITES = {"Job", "create", "get_or_create", "update", "update_or_create", "bulk_create", "record", "move"}
WRITES |= {f"a{name}" for name in WRITES}
SERVICES = {"launching", "service", "catalogue", "wallets", "limits", "escrows", "acting"}
METHODS = ("require_safe", "require_GET", "require_POST", "require_http_methods(")


def writes_of_state(tree: ast.AST, *, inside: str = "") -> Iterator[tuple[str, int]]:
    """Yield function and line of everything in a syntax tree that would set a job's state."""
    for node in ast.iter_child_nodes(tree):
        name = node.name if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else inside
        if _writes_state(node):
            yield name, getattr(node, "lineno", 0)
        yield from writes_of_state(node, inside=name)


def _writes_state(node: ast.AST) -> bool:
    if isinstance(node, ast.Attribute):
        return node.attr == "state" and isinstance(node.ctx, ast.Store)
    if isinstance(node, ast.Subscript):
        return _is_state(node.slice) and isinstance(node.ctx, ast.Store)
    if not isinstance(node, ast.Call):
        return False
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if name in {"setattr", "bulk_update", "abulk_update"}:
        return any(_is_state(part) for argument in node.args for part in ast.walk(argument))
    if name not in WRITES:
        return False
    dicts = (k.value for k in node.keywords if k.arg in (None, "defaults", "create_defaults"))
    keys = (key for d in dicts for part in ast.walk(d) if isinstance(part, ast.Dict) for key in part.keys)
    return any(k.arg == "state" for k in node.keywords) or any(_is_state(key) for key in keys)


def _is_state(node: ast.AST | None) -> bool:
    return isinstance(node, ast.Constant) and node.value == "state"


class TestStateOfAJob:
    def test_is_set_by_its_one_mover_alone(self) -> None:
        found = {(path, name) for path, tree in product_modules() for name, _ in writes_of_state(tree)}

        assert found == {("jobs/models/jobs.py", "move")}

    @pytest.mark.parametrize(
        "planted",
        [
            "job.state = State.FAILED",
            "job.state: str = 'FAILED'",
            "facts['state'] = State.FAILED",
            "setattr(job, 'state', State.FAILED)",
            "Job.objects.filter(pk=1).update(state=State.FAILED)",
            "Job.objects.filter(pk=1).update(**{'state': State.FAILED})",
            "Job.objects.create(team=team, state=State.RUNNING)",
            "Job.objects.update_or_create(pk=1, defaults={'state': State.RUNNING})",
            "Job.objects.bulk_update(jobs, ['trouble', 'state'])",
            "Job.objects.record(job_id=1, kind='x', now=now, state=State.FAILED)",
            "Job(state=State.RUNNING).save()",
        ],
    )
    def test_would_be_seen_to_be_set_elsewhere(self, planted: str) -> None:
        assert list(writes_of_state(ast.parse(planted)))

    @pytest.mark.parametrize("harmless", ["Job.objects.filter(state=x)", "job.state == x", "Row(state=x)"])
    def test_may_be_read(self, harmless: str) -> None:
        assert not list(writes_of_state(ast.parse(harmless)))


class TestTasks:
    @pytest.mark.parametrize("task", Task)
    def test_exist_under_the_names_that_the_queue_uses(self, task: Task) -> None:
        function = import_string(task)

        kinds = [p.kind for p in inspect.signature(function).parameters.values()]
        assert function.__module__ == "jobs.tasks"
        assert kinds[-1] == inspect.Parameter.VAR_KEYWORD, "older and newer releases share a queue"

    def test_can_all_be_asked_for(self) -> None:
        public = {
            f"jobs.tasks.{name}"
            for name, value in vars(tasks).items()
            if inspect.isfunction(value) and value.__module__ == "jobs.tasks" and not name.startswith("_")
        }

        assert public == {task.value for task in Task}

    def test_with_a_limit_of_their_own_are_tasks(self) -> None:
        assert set(TIME_LIMITS_S) <= set(Task)


def view_functions() -> dict[str, ast.FunctionDef]:
    """Return every public view function of the product by its dotted name."""
    return {
        f"{path.removesuffix('.py').replace('/', '.')}.{node.name}": node
        for path, tree in product_modules()
        if path.startswith("jobs/views/")
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.name in _routed(path)
    }


def _routed(path: str) -> set[str]:
    module = path.removesuffix(".py").replace("/", ".")
    callbacks = (p.callback for p in urlpatterns if isinstance(p, URLPattern))
    return {c.__name__ for c in callbacks if c.__module__ == module and not hasattr(c, "view_class")}


class TestViews:
    def test_say_which_methods_they_answer(self) -> None:
        views = view_functions()

        silent = {name for name, view in views.items() if not any(map(_names_methods, view.decorator_list))}

        assert len(views) > 20
        assert silent == set()

    def test_change_nothing_on_a_get(self) -> None:
        """A view that only calls selectors may be safe; one that is safe must not call what writes for a person."""
        acting = {
            "launch",
            "rerun",
            "cancel",
            "go_on",
            "give_up",
            "add",
            "refresh",
            "generate",
            "import_key",
            "disable",
            "set_limit",
            "look_soon",
            "withdraw",
            "release",
            "speed_up",
            "fill",
        }
        wrong = {
            name
            for name, view in view_functions().items()
            if any(ast.unparse(d) in {"require_safe", "require_GET"} for d in view.decorator_list)
            and any(isinstance(n, ast.Call) and _service_call(n) in acting for n in ast.walk(view))
        }

        assert wrong == set()


def _names_methods(decorator: ast.expr) -> bool:
    return ast.unparse(decorator).startswith(METHODS)


def _service_call(call: ast.Call) -> str:
    owner = call.func.value if isinstance(call.func, ast.Attribute) else None
    known = isinstance(owner, ast.Name) and owner.id in SERVICES
    return call.func.attr if known and isinstance(call.func, ast.Attribute) else ""


class TestCommands:
    @pytest.mark.parametrize(
        "command", sorted(p.stem for p in (ROOT / "jobs/management/commands").glob("[a-z]*.py"))
    )
    def test_are_each_run_by_a_test(self, command: str) -> None:
        tests = (p for p in (ROOT / "tests").rglob("*.py") if ROOT / "tests" / "repo" not in p.parents)

        assert any(f'"{command}"' in path.read_text() for path in tests)
