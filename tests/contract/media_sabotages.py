"""Ways to use pictures and sources wrong, and some to use them right that no plugin of these tests has."""

from __future__ import annotations

from tests.contract.sabotages import TYPE, Sabotage

FRAME = 'body["first_frame"] = request.image.data_uri'
KEPT = (
    "    async def content(self, job, variant):\n"
    "        async with self.upstream.open(Source(url=job.url)) as response:\n"
    "            whole = await response.read()\n"
    "        async def part(first, length):\n"
    "            yield whole[{part}]\n"
    "        return Source(read=part, size=len(whole){more})\n"
)
FETCHED = "    async def fetch(self, job: UpstreamJob) -> UpstreamJob:\n"

HONEST = [
    Sabotage(
        "Lumen",
        "a source that is read in parts",
        TYPE,
        TYPE + KEPT.format(part="first : first + length", more=""),
        "test_parts_are_exact",
        "",
    ),
    Sabotage(
        "Lumen",
        "pictures by their address",
        "    return Lumen\n",
        "    class Addressed(Lumen):\n"
        "        picture_form = PictureForm(address=True)\n\n"
        "        async def create(self, request):\n"
        '            body = {"text": request.prompt, "length": request.seconds, "first_frame": request.image.url}\n'
        '            return task(await self.upstream.post("/v2/generations", json=body))\n\n'
        "    return Addressed\n",
        "test_picture_is_sent_or_refused",
        "",
    ),
]
"""Plugins that break nothing: the law must stay green."""

MEDIA_SABOTAGES = [
    Sabotage(
        "Lumen",
        "a second picture is left out",
        "    default_model = Model(max_images=1)\n",
        "",
        "test_every_picture_is_sent_or_refused",
        "picture 2, 3 of 3 was left out",
    ),
    Sabotage(
        "Lumen",
        "every picture is called a PNG",
        FRAME,
        'body["first_frame"] = "data:image/png;base64," + request.image.base64',
        "test_picture_has_its_own_type[image/jpeg]",
        "was sent as image/png",
    ),
    Sabotage(
        "Lumen",
        "the address is not what is sent",
        TYPE,
        TYPE + "    picture_form = PictureForm(address=True)\n",
        "test_picture_is_sent_or_refused",
        "left out",
    ),
    Sabotage(
        "Lumen",
        "a form with a text for its types",
        TYPE,
        TYPE + '    picture_form = PictureForm(media_types="image/png")\n',
        "test_plugin_is_accepted",
        "media_types of a PictureForm",
    ),
    Sabotage(
        "Lumen",
        "a last frame is promised and left out",
        "Model(max_images=1)",
        "Model(max_images=1, last_frame=True)",
        "test_last_frame_is_sent",
        "last_frame was left out",
    ),
    Sabotage(
        "Kiln",
        "beside the last frame there is no first one",
        'body["last"] = request.last_frame.data_uri',
        'body["last"] = request.last_frame.data_uri\n            body["pictures"] = []',
        "test_last_frame_is_sent",
        "the first one was left out",
    ),
    Sabotage(
        "Kiln",
        "the frame of the source is left out",
        ', "from": frame.data_uri}',
        "}",
        "test_source_frame_is_sent[extend]",
        "asked for and then left out",
    ),
    Sabotage(
        "Kiln",
        "without a frame an extension is a new video",
        'frame = await request.source_frame("last")\n',
        "try:\n"
        '            frame = await request.source_frame("last")\n'
        "        except UnsupportedOperation:\n"
        "            return await self.create(request)\n",
        "test_source_frame_is_sent[extend]",
        "raised nothing",
    ),
    Sabotage(
        "Kiln",
        "what it needs is not named",
        "    requires =",
        "    needs =",
        "test_requirements_are_named",
        "does not name av",
    ),
    Sabotage(
        "Kiln",
        "what it needs is imported at once",
        "import asyncio\n",
        "import asyncio\nimport av\n",
        "test_requirements_are_named",
        "import av in a function",
    ),
    Sabotage(
        "Lumen",
        "what it needs is a list",
        TYPE,
        TYPE + '    requires = ["av"]\n',
        "test_plugin_is_accepted",
        "requires must map modules",
    ),
    Sabotage(
        "Kiln",
        "a film within an answer is held in memory",
        'film", spool=True)\n        return Source(spooled=reply.need("film.data"))',
        'film")\n        import base64\n        return Source(data=base64.b64decode(reply.need("film.data")))',
        "test_large_content_passes",
        "has more than",
    ),
    Sabotage(
        "Kiln",
        "a film within a poll is held in memory",
        'params={"within": "1"}, spool=True',
        'params={"within": "1"}',
        "test_film_of_a_poll_is_exact",
        "the film of an upstream's job must be a Spooled file",
    ),
    Sabotage(
        "Kiln",
        "the film of a poll is the still",
        'film=reply.get("film.data")',
        'film=reply.get("still")',
        "test_film_of_a_poll_is_exact",
        "the film of the poll is another one",
    ),
    Sabotage(
        "Lumen",
        "a part is another one",
        TYPE,
        TYPE + KEPT.format(part="first:length", more=""),
        "test_parts_are_exact",
        "other bytes",
    ),
    Sabotage(
        "Lumen",
        "the size is wrong",
        TYPE,
        TYPE + KEPT.format(part="first : first + length + 1", more=" - 1"),
        "test_content_is_exact",
        "the Source says",
    ),
    Sabotage(
        "Lumen",
        "a finished job is not asked about again",
        FETCHED,
        FETCHED + '        if job.status == "completed":\n            return job\n',
        "test_expired_address_is_asked_for_anew",
        "the upstream was not asked",
    ),
    Sabotage(
        "Lumen",
        "the first address is kept for good",
        TYPE,
        TYPE + "    kept = {}\n\n"
        "    async def content(self, job, variant):\n"
        "        return Source(url=self.kept.setdefault(job.id, job.url))\n",
        "test_expired_address_is_asked_for_anew",
        "an address that has expired",
    ),
    Sabotage(
        "Lumen",
        "an address expires in milliseconds",
        'reply.get("task.output.expires")',
        'reply.get("task.output.expires", 0) * 1000 or None',
        "test_expired_address_is_asked_for_anew",
        "unix seconds",
    ),
]
