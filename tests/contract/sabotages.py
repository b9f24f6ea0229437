"""Ways to break the plugins of the contract's own tests, and what the contract must say to each."""

from __future__ import annotations

from typing import NamedTuple


class Sabotage(NamedTuple):
    """`old` becomes `new` in the plugin; the `law` must then fail with `words` in what it says."""

    plugin: str
    what: str
    old: str
    new: str
    law: str
    words: str


CREATE = 'return task(await self.upstream.post("/v2/generations", json={**request.metadata, **body}))'
FETCH = 'return task(await self.upstream.get(f"/v2/generations/{job.id}"))'
CHOOSE = 'status=reply.choose("task.state", STATES),'
AGAIN = 'return job(await self.upstream.post(f"/v1/jobs/{source.id}/{verb}", json=order(request)))'
TYPE = '    type = "lumen"\n'

SABOTAGES = [
    Sabotage(
        "Lumen",
        "an unknown state is a failure",
        CHOOSE,
        'status=STATES.get(reply.need("task.state"), "failed"),',
        "test_unknown_state_is_an_error_that_names_it",
        "raised nothing",
    ),
    Sabotage(
        "Lumen",
        "an unknown state is not named",
        CHOOSE,
        'status=STATES.get(reply.need("task.state"), ""),',
        "test_unknown_state_is_an_error_that_names_it",
        "must name the state",
    ),
    Sabotage(
        "Lumen",
        "the POST is sent again",
        CREATE,
        f"try:\n            {CREATE}\n        except Exception:\n            {CREATE}",
        "test_outcome_is_unknown[reset_after_taking]",
        "raised nothing",
    ),
    Sabotage(
        "Lumen",
        "the POST is sent again before giving up",
        CREATE,
        f"try:\n            {CREATE}\n        except Exception:\n            "
        'await self.upstream.post("/v2/generations", json=body)\n            raise',
        "test_outcome_is_unknown[html_502]",
        "sent again",
    ),
    Sabotage(
        "Lumen",
        "a timeout is called a refusal",
        CREATE,
        f"try:\n            {CREATE}\n        except UpstreamTimeout as error:\n            "
        "raise UpstreamRefused(str(error))",
        "test_outcome_is_unknown[hang]",
        "the job may run",
    ),
    Sabotage(
        "Lumen",
        "a missing id is made up",
        'id=reply.need("task.id")',
        'id=reply.get("task.id") or "lost"',
        "test_outcome_is_unknown[no_id]",
        "raised nothing",
    ),
    Sabotage(
        "Lumen",
        "every 5xx is called a refusal",
        TYPE,
        TYPE + "    def refusal(self, status, reply):\n"
        '        return UpstreamRefused("busy") if status >= 500 else None\n',
        "test_wordless_status_is_unknown[500]",
        "proves nothing",
    ),
    Sabotage(
        "Lumen",
        "the key is in the error",
        CREATE,
        f"try:\n            {CREATE}\n        except InvalidRequest as error:\n            "
        'raise InvalidRequest(f"{error} {self.options.api_key}")',
        "test_refusal_carries_words_without_secrets[400]",
        "a secret is in the error",
    ),
    Sabotage(
        "Lumen",
        "the provider's words are lost",
        CREATE,
        f'try:\n            {CREATE}\n        except InvalidRequest:\n            raise InvalidRequest("no") from None',
        "test_refusal_carries_words_without_secrets[422]",
        "words are lost",
    ),
    Sabotage(
        "Lumen",
        "the operator's fault is the client's",
        TYPE,
        TYPE
        + '    def refusal(self, status, reply):\n        return InvalidRequest("no") if status == 403 else None\n',
        "test_account_statuses[403]",
        "credential was refused",
    ),
    Sabotage(
        "Lumen",
        "no credential is sent",
        TYPE,
        TYPE + "    def headers(self):\n        return {}\n",
        "test_create_sends_one_paid_request",
        "AccountRefused",
    ),
    Sabotage(
        "Lumen",
        "Retry-After is made up",
        TYPE,
        TYPE + "    def refusal(self, status, reply):\n"
        '        return Throttled("busy", retry_after=1) if status == 429 else None\n',
        "test_throttling_says_when",
        "Retry-After was 17",
    ),
    Sabotage(
        "Lumen",
        "the prompt is made ASCII",
        '"text": request.prompt',
        '"text": request.prompt.encode("ascii", "ignore").decode()',
        "test_prompt_arrives_unchanged",
        "not among what was sent",
    ),
    Sabotage(
        "Lumen",
        "the picture is left out",
        "if request.image:",
        "if False:",
        "test_picture_is_sent_or_refused",
        "left out",
    ),
    Sabotage(
        "Lumen",
        "a state is missing",
        ', "rejected": "failed"',
        "",
        "test_every_state_maps",
        "'rejected'",
    ),
    Sabotage(
        "Lumen",
        "a failed poll fails the job",
        FETCH,
        f"try:\n            {FETCH}\n        except UpstreamError as error:\n            "
        'return UpstreamJob(id=job.id, status="failed", error=str(error))',
        "test_bad_poll_fails_nothing[html_502]",
        "raised nothing",
    ),
    Sabotage(
        "Lumen",
        "a 500 on a poll fails the job",
        FETCH,
        f"try:\n            {FETCH}\n        except UpstreamError as error:\n            "
        'return UpstreamJob(id=job.id, status="failed", error=str(error))',
        "test_bad_poll_status_fails_nothing[500]",
        "raised nothing",
    ),
    Sabotage(
        "Lumen",
        "the answer is trusted to be an object",
        'id=reply.need("task.id")',
        'id=reply.data["task"]["id"]',
        "test_poll_of_another_shape_fails_nothing[42]",
        "raised TypeError",
    ),
    Sabotage(
        "Lumen",
        "a percentage is trusted to be a number",
        'reply.get("task.percent")',
        'reply.need("task.percent") / 1',
        "test_odd_field_fails_nothing",
        "task.percent",
    ),
    Sabotage(
        "Lumen",
        "any reason is a failure",
        CHOOSE,
        'status="failed" if reply.get("task.percent") == "garbage" else reply.choose("task.state", STATES),',
        "test_odd_field_fails_nothing",
        "failed a job that runs",
    ),
    Sabotage(
        "Lumen",
        "a failure is silent",
        'error=reply.get("task.reason"),',
        "",
        "test_failed_job_says_why",
        "must carry an error",
    ),
    Sabotage(
        "Lumen",
        "polling submits",
        FETCH,
        'await self.upstream.post("/v2/generations", json={"text": "x", "length": 5})\n        ' + FETCH,
        "test_poll_costs_nothing",
        "assert 3 == 1",
    ),
    Sabotage(
        "Lumen",
        "a probe asks nobody",
        TYPE,
        TYPE + "    async def probe(self):\n        return None\n",
        "test_probe_costs_nothing",
        "raised nothing",
    ),
    Sabotage(
        "Lumen",
        "the content is cut",
        TYPE,
        TYPE + "    async def content(self, job, variant):\n        return Source(data=b'ftyp')\n",
        "test_content_is_exact",
        "differs",
    ),
    Sabotage(
        "Lumen",
        "a broken transfer is taken for the end",
        TYPE,
        TYPE + "    async def content(self, job, variant):\n"
        "        async def pieces():\n"
        "            try:\n"
        "                async with self.upstream.open(Source(url=job.url)) as response:\n"
        "                    async for piece in response.content.iter_any():\n"
        "                        yield piece\n"
        "            except Exception:\n"
        "                return\n"
        "        return Source(stream=pieces)\n",
        "test_cut_content_breaks[True]",
        "DID NOT RAISE",
    ),
    Sabotage(
        "Lumen",
        "the key goes wherever the result lies",
        TYPE,
        TYPE
        + "    async def content(self, job, variant):\n"
        + "        return Source(url=f'{job.url}?key={self.options.api_key}')\n",
        "test_key_stays_at_its_origin",
        "the key went to",
    ),
    Sabotage(
        "Lumen",
        "the thumbnail is the video",
        TYPE,
        TYPE + "    async def content(self, job, variant):\n        return Source(url=job.url)\n",
        "test_stills_are_given_or_unsupported[thumbnail]",
        "is the video",
    ),
    Sabotage(
        "Lumen",
        "a constructor",
        TYPE,
        TYPE + "    def __init__(self, **kwargs):\n        super().__init__(**kwargs)\n",
        "test_plugin_is_accepted",
        "__init__",
    ),
    Sabotage(
        "Lumen",
        "an HTTP client of its own",
        "from proxy import",
        "import urllib.request\nfrom proxy import",
        "test_imports_are_allowed",
        "urllib.request",
    ),
    Sabotage(
        "Lumen",
        "deeper imports of the product",
        "from proxy import",
        "import proxy.models\nfrom proxy import",
        "test_imports_are_allowed",
        "proxy.models",
    ),
    Sabotage(
        "Atelier",
        "a remix is a new video",
        'f"/v1/jobs/{source.id}/{verb}"',
        'f"/v1/jobs"',
        "test_remix_starts_from_its_source",
        "not enough values",
    ),
    Sabotage(
        "Atelier",
        "cancel does nothing",
        'await self.upstream.post(f"/v1/jobs/{job.id}/cancel", paid=False)',
        "return",
        "test_cancel_stops_the_job",
        "still runs",
    ),
    Sabotage(
        "Atelier",
        "delete does nothing",
        'await self.upstream.delete(f"/v1/jobs/{job.id}")',
        "return",
        "test_delete_removes_the_result",
        "still at the upstream",
    ),
    Sabotage(
        "Atelier",
        "recover finds nothing",
        'params={"reference": request.attempt_id}',
        'params={"reference": "x"}',
        "test_recover_tells_the_truth[reset_after_taking]",
        "recover() answers",
    ),
    Sabotage(
        "Atelier",
        "recover makes a job up",
        "return job(Reply",
        'return UpstreamJob(id="made-up")\n        return job(Reply',
        "test_recover_tells_the_truth[reset_before_reply]",
        "made up",
    ),
    Sabotage(
        "Atelier",
        "a remix is sent again",
        AGAIN,
        f"try:\n            {AGAIN}\n        except Exception:\n            "
        'await self.upstream.post(f"/v1/jobs/{source.id}/{verb}", json=order(request))\n            raise',
        "test_outcome_is_unknown[html_502]",
        ": sent again",
    ),
]
