# SPDX-License-Identifier: GPL-3.0-or-later
"""What every client of the API relies on: objects, pages, versions, idempotency, problems, imports, simulation."""

from __future__ import annotations

import asyncio
import hashlib
import io
from pathlib import Path
from typing import Any

import pytest

import api.rest
from provisioning.acd_store import act
from provisioning.database import connect
from provisioning.resources import OBJECTS
from tests.api.conftest import Rest
from tests.provisioning.examples import EXAMPLES


async def fill(rest: Rest) -> None:
    for resource in OBJECTS:
        status, body, _ = await rest.ask("POST", f"/{resource.plural}", json=EXAMPLES[resource.name][0])
        assert status == 201, body


async def test_the_life_of_every_object(rest: Rest) -> None:
    for resource in OBJECTS:
        made, change = EXAMPLES[resource.name]
        status, shown, headers = await rest.ask("POST", f"/{resource.plural}", json=made)
        assert status == 201, shown
        key = made[resource.key]
        path = f"/{resource.plural}/{key.replace('+', '%2B')}"
        assert headers["Location"] == f"/api/v1/{resource.plural}/{key}"
        assert headers["ETag"] == '"1"'
        assert not set(resource.secrets) & shown.keys()
        assert (await rest.ask("GET", path))[:2] == (200, shown)
        assert (await rest.ask("GET", f"/{resource.plural}"))[1] == {"items": [shown], "next_cursor": None}
        status, shown, headers = await rest.ask("PATCH", path, json=change, headers={"If-Match": '"1"'})
        assert (status, headers["ETag"]) == (200, '"2"'), shown
        assert {name: shown[name] for name in change if not isinstance(change[name], list)} == {
            name: value for name, value in change.items() if not isinstance(value, list)
        }
        for method, body in (("PUT", made), ("PATCH", {}), ("DELETE", None)):
            assert (await rest.ask(method, path, json=body, headers={"If-Match": '"1"'}))[0] == 412
        status, shown, headers = await rest.ask("PUT", path, json=made, headers={"If-Match": '"2"'})
        assert (status, headers["ETag"]) == (200, '"3"'), shown
    for resource in reversed(OBJECTS):
        key = EXAMPLES[resource.name][0][resource.key].replace("+", "%2B")
        if resource.name == "user":
            await rest.ask("PATCH", f"/users/{key}", json={"dial_plan": None})
        assert (await rest.ask("DELETE", f"/{resource.plural}/{key}"))[0] == 204
        status, body, headers = await rest.ask("GET", f"/{resource.plural}/{key}")
        assert (status, headers["Content-Type"]) == (404, "application/problem+json")
        assert body["detail"].startswith(f"no {resource.name} ")


async def test_pages(rest: Rest) -> None:
    for number in range(7):
        await rest.ask("POST", "/skills", json={"name": f"s{number}"})
    found, cursor = [], ""
    while cursor is not None:
        _, body, _ = await rest.ask("GET", "/skills", params={"limit": 3, "cursor": cursor})
        found.append([each["name"] for each in body["items"]])
        cursor = body["next_cursor"]
    assert found == [["s0", "s1", "s2"], ["s3", "s4", "s5"], ["s6"]]
    for query, status in (("limit=0", 400), ("limit=501", 400), ("limit=x", 400), ("nothing=1", 400),
                          ("limit=1&limit=2", 400), ("cursor=a", 422), ("cursor=AA", 422)):  # fmt: skip
        assert (await rest.ask("GET", f"/skills?{query}"))[0] == status, query


async def test_problems_say_where_and_what(rest: Rest) -> None:
    status, body, headers = await rest.ask("POST", "/trunks", json={"name": "A", "port": "x", "colour": 1})
    assert (status, headers["Content-Type"]) == (422, "application/problem+json")
    assert {each["where"] for each in body["errors"]} == {"name", "host", "port", "colour"}
    for body_, kind, expected in (
        (b"{", "application/json", 400),
        (b'{"name": "\xff"}', "application/json", 400),
        (b"{}", "text/plain", 415),
        (b"[]", "application/json", 422),
        (io.BytesIO(b"x" * (2 << 20)), "application/json", 413),
    ):
        status, body, _ = await rest.ask("POST", "/trunks", data=body_, headers={"Content-Type": kind})
        assert (status, body["status"]) == (expected, expected)
    for method, path, json, expected in (
        ("POST", "/trunks", {"name": "a", "host": "h", "rate_deck": "none"}, 409),
        ("POST", "/users", {"username": "anna"}, 422),
        ("GET", "/trunks/A%20B", None, 404),
        ("GET", "/nothing", None, 404),
        ("TRACE", "/trunks", None, 405),
    ):
        assert (await rest.ask(method, path, json=json))[0] == expected, path


async def test_the_same_request_twice_is_done_once(rest: Rest) -> None:
    key = {"Idempotency-Key": "7f3"}
    first = await rest.ask("POST", "/skills", json={"name": "french"}, headers=key)
    again = await rest.ask("POST", "/skills", json={"name": "french"}, headers=key)
    assert first[0] == again[0] == 201
    assert first[1] == again[1]
    assert (again[2]["Location"], again[2]["Idempotency-Replayed"]) == (first[2]["Location"], "true")
    assert (await rest.ask("POST", "/skills", json={"name": "german"}, headers=key))[0] == 422
    assert (await rest.ask("POST", "/skills", "platform", json={"name": "dutch"}, headers=key))[0] == 201
    assert (await rest.ask("POST", "/skills", json={"name": "french"}, headers={"Idempotency-Key": "8"}))[0] == 409
    assert (await rest.ask("POST", "/skills", json={"name": "a"}, headers={"Idempotency-Key": "x" * 129}))[0] == 400

    async def at_once(number: int) -> int:
        name = {"name": f"n{number % 10}"}
        return (await rest.ask("POST", "/skills", json=name, headers={"Idempotency-Key": f"k{number % 10}"}))[0]

    assert set(await asyncio.gather(*map(at_once, range(60)))) == {201}
    assert len((await rest.ask("GET", "/skills"))[1]["items"]) == 12


async def test_only_one_of_two_writers_wins(rest: Rest) -> None:
    await rest.ask("POST", "/skills", json={"name": "french"})
    writes = [rest.ask("PATCH", "/skills/french", json={"description": str(n)}, headers={"If-Match": '"1"'})
              for n in range(10)]  # fmt: skip
    assert sorted(status for status, _, _ in await asyncio.gather(*writes)) == [200] + [412] * 9


async def test_import_and_export(rest: Rest) -> None:
    await fill(rest)
    _, everything, _ = await rest.ask("GET", "/export")
    status, body, _ = await rest.ask("POST", "/import", json=everything)
    assert status == 200, body
    assert {each["action"] for each in body["differences"]} == {"same"}
    changed = {**everything, "skill": [{"name": "german"}],
               "trunk": [{**everything["trunk"][0], "channel_limit": 9}]}  # fmt: skip
    status, body, _ = await rest.ask("POST", "/import?dry_run=true", json=changed)
    assert status == 200
    wanted = [each for each in body["differences"] if each["action"] != "same"]
    assert [(each["kind"], each["key"], each["action"], each["changes"]) for each in wanted] == [
        ("skill", "german", "create", {}),
        ("trunk", "paris", "update", {"channel_limit": [None, 9]}),
    ]
    assert (await rest.ask("GET", "/skills/german"))[0] == 404
    assert (await rest.ask("POST", "/import?remove=true", json=changed))[0] == 409  # french is in use
    assert (await rest.ask("GET", "/skills/german"))[0] == 404
    assert (await rest.ask("POST", "/import", json=changed))[0] == 200
    assert (await rest.ask("GET", "/trunks/paris"))[1]["channel_limit"] == 9
    status, body, _ = await rest.ask("POST", "/import?remove=true", json={"webhook": []})
    assert [(each["key"], each["action"]) for each in body["differences"]] == [("crm", "delete")]


async def test_tables_come_back_as_they_went(rest: Rest) -> None:
    await fill(rest)
    await rest.ask("PATCH", "/skills/french", json={"description": "=cmd|' /C calc'!A0"})
    for resource in OBJECTS:
        _, table, headers = await rest.ask("GET", f"/export/{resource.name}")
        assert headers["Content-Type"].startswith("text/csv")
        status, body, _ = await rest.ask("POST", f"/import/{resource.name}", data=table.encode(),
                                         headers={"Content-Type": "text/csv"})  # fmt: skip
        assert status == 200, (resource.name, body)
        assert {each["action"] for each in body["differences"]} == {"same"}, body
        if resource.name == "skill":
            assert "'=cmd" in table
    for table in (b"nothing\r\n1\r\n", b"name,host\r\nA,\r\n", b"\xff", b"name\r\na,b,c\r\n", b'"'):
        assert (await rest.ask("POST", "/import/trunk", data=table, headers={"Content-Type": "text/csv"}))[0] == 422


async def test_rates(rest: Rest) -> None:
    await rest.ask("POST", "/rate-decks", json={"name": "cheap"})

    async def put(table: str) -> tuple[int, Any]:
        return (await rest.ask("PUT", "/rate-decks/cheap/rates", data=table.encode(),
                               headers={"Content-Type": "text/csv"}))[:2]  # fmt: skip

    assert await put("33,0.004\n+331,0.003\n") == (200, {"rates": 2})
    for table in ("33\n", "33,x\n", "x,1\n", "33,1\n33,2\n", "33,-1\n", "33,inf\n", "33,1e300\n"):
        assert (await put(table))[0] == 422, table
    with connect(rest.conninfo) as connection:
        rows = connection.execute("SELECT prefix, per_minute_micros FROM rates ORDER BY prefix").fetchall()
    assert [tuple(row.values()) for row in rows] == [("33", 4000), ("331", 3000)]


async def test_a_webhook_is_tried_and_what_became_of_it_is_shown(rest: Rest) -> None:
    await fill(rest)
    (hook,) = (await rest.ask("GET", "/webhooks"))[1]["items"]
    path = f"/webhooks/{hook['name']}"
    assert (await rest.ask("GET", f"{path}/deliveries"))[1] == {"items": []}
    status, body, _ = await rest.ask("POST", f"{path}/test")
    assert status == 202
    (delivery,) = (await rest.ask("GET", f"{path}/deliveries"))[1]["items"]
    assert (delivery["event"], delivery["type"], delivery["state"]) == (body["event"], "webhook.test", "waiting")
    assert (await rest.ask("POST", "/webhooks/none/test"))[0] == 404
    assert (await rest.ask("GET", "/webhooks/none/deliveries"))[0] == 404


async def test_somebody_is_booked_to_be_called_back_and_taken_off_again(rest: Rest) -> None:
    await fill(rest)
    (queue, *_) = (await rest.ask("GET", "/queues"))[1]["items"]
    path = f"/queues/{queue['name']}/callbacks"
    status, booked, _ = await rest.ask("POST", path, json={"number": "+33123456789"})
    assert status == 201
    (caller,) = (await rest.ask("GET", "/board"))[1]["callers"]
    assert (caller["id"], caller["number"], caller["position"]) == (booked["id"], "+33123456789", 1)
    assert (await rest.ask("POST", "/queues/none/callbacks", json={"number": "1"}))[0] == 404
    assert (await rest.ask("DELETE", f"/board/callbacks/{booked['id']}"))[0] == 204
    assert (await rest.ask("DELETE", f"/board/callbacks/{booked['id']}"))[0] == 404
    assert (await rest.ask("GET", "/board"))[1]["callers"] == []


async def test_where_would_this_call_go_and_why(rest: Rest) -> None:
    await fill(rest)
    await rest.ask("PATCH", "/routes/france", json={"calendar": None})
    question = {"caller": "anna", "dialled": "0223456789", "at": "2026-05-01T12:00:00Z"}
    for _ in range(100):
        status, body, _ = await rest.ask("POST", "/simulate", json=question)
        if body["targets"]:
            break
        await asyncio.sleep(0.02)  # until routing has heard of it
    assert status == 200
    assert [(each["kind"], each["name"], each["number"]) for each in body["targets"]] == [
        ("trunk", "paris", "+33223456789")
    ]
    assert "route france (+33, priority): ['paris']" in body["steps"]
    status, body, _ = await rest.ask("POST", "/simulate", json={"caller": "anna", "dialled": "112"})
    assert body["emergency"]
    for _ in range(100):
        _, body, _ = await rest.ask("POST", "/simulate", json={"caller": "anna", "dialled": "0053123456"})
        if body["refusal"]["status"] == 403:
            break
        await asyncio.sleep(0.02)  # until it has heard of the restriction, which was made after the route
    assert body["refusal"] == {"status": 403, "reason": "Destination Not Allowed"}
    sunday = {"caller": "+33199999999", "dialled": "+33123456789", "trunk": "paris", "at": "2026-05-03T12:00:00Z"}
    assert (await rest.ask("POST", "/simulate", json=sunday))[1]["refusal"]["reason"] == "Closed"
    for wrong in ({"caller": "nobody"}, {"trunk": "none"}):
        assert (await rest.ask("POST", "/simulate", json=question | wrong))[0] == 404


async def test_calls(rest: Rest) -> None:
    _, body, _ = await rest.ask("GET", "/calls")
    assert [each["id"] for each in body["items"]] == ["c1"]
    for action in ("hangup", "hold", "resume", "record_start", "record_pause"):
        assert (await rest.ask("POST", "/calls/c1/control", "operator", json={"action": action}))[0] == 200
    assert (await rest.ask("POST", "/calls/c1/control", json={"action": "transfer"}))[0] == 409
    assert (await rest.ask("POST", "/calls/c1/control", json={"action": "transfer", "target": "500"}))[0] == 200
    assert (await rest.ask("POST", "/calls/c1/control", json={"action": "record_stop"}))[0] == 409
    assert (await rest.ask("POST", "/calls/c2/control", json={"action": "hangup"}))[0] == 404
    assert [action for _, action in rest.live.done][-2:] == ["record_pause", "transfer"]
    _, body, _ = await rest.ask("GET", "/audit", params={"resource": "call"})
    assert [each["action"] for each in body["items"]][:2] == ["transfer", "record_pause"]
    status, body, _ = await rest.ask(
        "POST", "/calls/c1/media", "operator", json={"action": "play", "leg": "a", "sounds": ["tone/busy"]}
    )
    assert (status, body["token"], body["ms"]) == (200, 7, 1500)
    for wrong, status in (
        ({"action": "play", "leg": "a", "sounds": ["none"]}, 409),
        ({"action": "dtmf", "leg": "a", "digits": "x"}, 422),
        ({"action": "block"}, 422),
    ):
        assert (await rest.ask("POST", "/calls/c1/media", json=wrong))[0] == status, wrong
    dtmf = {"action": "dtmf", "leg": "b", "digits": "1234#"}
    assert (await rest.ask("POST", "/calls/c1/media", json=dtmf))[0] == 200
    _, body, _ = await rest.ask("GET", "/audit", params={"resource": "call"})
    assert "1234" not in str(body), "digits may be a PIN"
    for path in ("/flows", "/registrations", "/statistics"):
        assert (await rest.ask("GET", path))[0] == 200


async def test_queues(rest: Rest) -> None:
    await fill(rest)
    assert (await rest.ask("PUT", "/agents/anna/state", "operator", json={"state": "available"}))[1][
        "state"
    ] == "available"
    assert (await rest.ask("PUT", "/agents/none/state", "operator", json={"state": "off"}))[0] == 404
    scope = await rest.services.store.scope("default", "test")
    now = rest.now[0].timestamp()
    async with rest.services.store.open(scope) as work:
        await act(work, "n1", lambda board: board.join("c1", "support", now))
        await act(work, "n1", lambda board: board.join("c2", "support", now + 1))
    _, body, _ = await rest.ask("GET", "/board")
    assert [(each["id"], each["agent"], each["position"]) for each in body["callers"]] == [
        ("c1", "anna", 0),
        ("c2", None, 1),
    ]
    assert body["agents"][0]["state"] == "ringing"
    assert (await rest.ask("GET", "/board", "stranger"))[1] == {"callers": [], "agents": []}


async def test_the_audit_is_shown_and_checked(rest: Rest) -> None:
    await rest.ask("POST", "/skills", json={"name": "french"})
    _, body, _ = await rest.ask("GET", "/audit", params={"key": "french"})
    (entry,) = body["items"]
    assert (entry["actor"], entry["action"], entry["address"]) == ("admin", "create", "127.0.0.1")
    assert (await rest.ask("GET", "/audit/verify"))[1]["broken"] is None
    with connect(rest.conninfo) as connection:
        connection.execute("UPDATE audit SET actor = 'x' WHERE key = 'french'")
    assert (await rest.ask("GET", "/audit/verify"))[1]["broken"] == entry["sequence"]


@pytest.mark.parametrize("path", ["/", "/api/v1", "/api/v1/", "/api/v1/docs"])
async def test_guesses_lead_to_the_documentation(rest: Rest, path: str) -> None:
    async with rest.client.get(path, allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (307, "/api/v1/docs/")
    async with rest.client.get(path) as answer:
        assert "<title>voxdp API</title>" in await answer.text()


async def test_the_documentation_asks_no_other_host(rest: Rest) -> None:
    status, page, headers = await rest.ask("GET", "/docs/", None)
    assert status == 200
    assert "default-src 'none'; script-src 'self'" in headers["Content-Security-Policy"]
    assert "http" not in page.replace("<!DOCTYPE html>", "")
    for name in ("start.js", "swagger-ui-bundle.js", "swagger-ui.css", "../openapi.json"):
        assert (await rest.ask("GET", f"/docs/{name}", None))[0] == 200, name
    digests = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (Path(api.rest.__file__).parent / "swagger" / "vendor").glob("swagger-ui*")
    }
    assert digests == {
        "swagger-ui-bundle.js": "e6a898692f2d768e807c3ba4626068a69a2c5dd960dd6c76f3e4d3a3de180af2",
        "swagger-ui.css": "5ed08757e53da3e026d6cbecc61fe5d43585c9560b302d534ad56692519a273d",
    }
