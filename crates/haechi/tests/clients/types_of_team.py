# What the types of a client say of an app, and what they refuse. Checked by pyright, never run.
from typing import assert_type

from haechi_client import Haechi, AsyncHaechi, HaechiError, Page, Task, TaskPart, me

client = Haechi("http://127.0.0.1:8080", token="x")
page = client.tasks.list(where={"state": "todo", "project": {"where": {"lead": me}}, "or_": [{"title": {"contains": "x"}}, {"due": None}]}, order={"due": "desc nulls_last"}, count=True)
assert_type(page, Page[Task])
task = page["items"][0]
assert_type(task["assignee"], str | None)
assert_type(task["version"], int)
assert_type(client.tasks.list(fields=["title"]), Page[TaskPart])
client.tasks.list(where={"stat": "todo"})  # expect error
client.tasks.list(where={"state": "gone"})  # expect error
client.tasks.create({"project": "p"})  # expect error
client.tasks.create({"project": "p", "title": "t", "number": "T-1"})  # expect error
made = client.tasks.create({"project": "p", "title": "t"})
name: str = made["id"]
if "version" in made:
    title: str = made["title"]
client.tasks.update(name, {"state": "gone"})  # expect error
client.memberships.upsert(("project", "person"), {"project": "p", "person": "q"})
client.memberships.upsert(("project",), {"project": "p", "person": "q"})  # expect error
groups = client.tasks.aggregate(by=["state"], max=["due"])
wide = client.tasks.get("x", expand={"project": {"fields": ["name"], "expand": {"lead": True}}, "comments_by_task": {"first": 5}})
if "_expanded" in wide and "comments_by_task" in wide["_expanded"]:
    texts: list[str] = [comment["text"] for comment in wide["_expanded"]["comments_by_task"]["items"]]
client.batch([{"create": "projects", "as": "p", "data": {"name": "x"}}, {"change": "tasks", "where": {"state": "done"}, "data": {"state": "todo"}}])
for change in client.tasks.watch(fields=["title"]):
    if change["type"] == "create" and "record" in change:
        print(change["record"].get("title"))
try:
    client.tasks.delete("x")
except HaechiError as error:
    if error.kind == "version-mismatch":
        print(error.errors)
    if error.kind == "nonsense":  # expect error
        pass

async def parallel() -> None:
    async with AsyncHaechi("http://127.0.0.1:8080") as other:
        assert_type(await other.tasks.list(), Page[Task])
        async for row in other.tasks.all():
            assert_type(row, Task)
        async for found in other.tasks.live(where={"state": "todo"}):
            assert_type(found, Page[Task])
