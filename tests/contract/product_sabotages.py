"""Ways to break the plugins that only show through the whole product."""

from __future__ import annotations

from tests.contract.sabotages import CREATE, FETCH, TYPE, Sabotage

PRODUCT_SABOTAGES = [
    Sabotage(
        "Lumen",
        "the key is logged",
        FETCH,
        f'import logging\n        logging.getLogger("lumen").info(self.options.api_key)\n        {FETCH}',
        "test_product_life_of_a_video",
        "credential is in the log",
    ),
    Sabotage(
        "Lumen",
        "a create is paid twice",
        CREATE,
        f"try:\n            {CREATE}\n        except Exception:\n            {CREATE}",
        "test_product_pays_once[cut_body]",
        "more than once",
    ),
    Sabotage(
        "Atelier",
        "cancel does nothing",
        'await self.upstream.post(f"/v1/jobs/{job.id}/cancel", paid=False)',
        "return",
        "test_product_delete_of_a_running_video",
        "still runs",
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
        "test_product_cut_content_breaks",
        "clean 200",
    ),
    Sabotage(
        "Lumen",
        "the content is another one",
        TYPE,
        TYPE + "    async def content(self, job, variant):\n        return Source(data=b'ftyp' * 65536)\n",
        "test_product_ranges[True]",
        "gave other bytes",
    ),
    Sabotage(
        "Lumen",
        "the operator's fault is the client's",
        TYPE,
        TYPE + "    def refusal(self, status, reply):\n"
        '        return InvalidRequest("no") if status == 402 else None\n',
        "test_product_account_refused[402]",
        "(400, 'invalid_value') == (502, 'upstream_error')",
    ),
    Sabotage(
        "Lumen",
        "the provider's words are lost",
        CREATE,
        f'try:\n            {CREATE}\n        except InvalidRequest:\n            raise InvalidRequest("no") from None',
        "test_product_refusal_is_discreet",
        "'Not this prompt' in",
    ),
    Sabotage(
        "Lumen",
        "a failure is a success",
        '"rejected": "failed"',
        '"rejected": "completed"',
        "test_product_failure_is_discreet",
        "'completed' == 'failed'",
    ),
    Sabotage(
        "Lumen",
        "a failed poll fails the job",
        FETCH,
        f"try:\n            {FETCH}\n        except UpstreamError as error:\n            "
        'return UpstreamJob(id=job.id, status="failed", error=str(error))',
        "test_product_bad_polls_fail_nothing",
        "the video ended as failed",
    ),
    Sabotage(
        "Atelier",
        "all channels use the credential of one",
        "    async def create(",
        "    def headers(self):\n"
        '        Atelier.first = getattr(Atelier, "first", self.options.api_key)\n'
        '        return {"Authorization": f"Bearer {Atelier.first}"}\n\n'
        "    async def create(",
        "test_product_remix_is_pinned",
        "made by one account",
    ),
    Sabotage(
        "Atelier",
        "delete does nothing",
        'await self.upstream.delete(f"/v1/jobs/{job.id}")',
        "return",
        "test_product_delete",
        "still at the upstream",
    ),
]
