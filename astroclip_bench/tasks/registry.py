"""Finding tasks by name: the built-in ones and those of the entry-point group `astroclip_bench.tasks`."""

from __future__ import annotations

from collections.abc import Sequence

from astroclip_bench.errors import TaskError
from astroclip_bench.plugins import load_plugin, plugin_names, suggest
from astroclip_bench.tasks.task import Task


def all_tasks() -> dict[str, Task]:
    """Return every task by name, built-in ones first.

    Raises
    ------
    TaskError
        If an entry point gives something other than a `Task`, or takes a name that is in use.
    """
    from astroclip_bench.tasks.catalogue import BUILTIN_TASKS

    tasks = {task.name: task for task in BUILTIN_TASKS}
    for name in plugin_names("tasks"):
        task = load_plugin("tasks", name)
        if not isinstance(task, Task):
            raise TaskError(f"the entry point {name!r} of astroclip_bench.tasks gives {type(task).__name__}", "a Task")
        if task.name in tasks:
            raise TaskError(f"the entry point {name!r} registers a second task named {task.name!r}")
        tasks[task.name] = task
    return tasks


def select_tasks(names: Sequence[str] | None = None) -> list[Task]:
    """Return the tasks of these names in the order of the catalogue, or all of them.

    Raises
    ------
    TaskError
        If there is no name, or one is unknown.
    """
    tasks = all_tasks()
    if names is None:
        return list(tasks.values())
    if not names:
        raise TaskError("no task is named", f"some of {', '.join(tasks)}")
    for name in names:
        if name not in tasks:
            raise TaskError(f"unknown task {name!r}", todo=suggest(name, tasks))
    return [task for task in tasks.values() if task.name in names]
