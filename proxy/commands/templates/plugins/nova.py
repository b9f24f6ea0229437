"""Nova: a prompt or a picture to video.

https://docs.nova.example/tasks (name the pages here that you write this file from)

Each comment that ends in a question is one for those pages: put their answer in the place of this example's.
"""

from proxy import ApiError, Channel, JobError, Model, ModerationBlocked, Reply, UpstreamJob, VideoRequest, hookimpl

# Which words are there for the state of a job? Name all: a word that is missing here never fails a video, but none of
# those that have it goes on. "failed" is for what will not become a video any more.
STATES = {
    "pending": "queued",
    "running": "in_progress",
    "succeeded": "completed",
    "failed": "failed",
    "canceled": "failed",
}

# Which codes say that a prompt or a picture is not allowed? The client is told so, and no other channel is tried.
BLOCKED = ("content_policy",)

# What can each model do, and what does a second of it cost in US dollars? Everything else is refused before it is sent.
# What is left out has no limit; without a price nobody is billed, and keys with a budget cannot use the model.
MODELS = {
    "nova-1": Model(seconds=(5, 10), sizes=("1280x720", "720x1280"), max_images=1, price=0.05),
}


class Nova(Channel):
    type = "nova"
    # Where is the API, without the paths below?
    base_url = "https://api.nova.example"
    models = MODELS

    # How does a call prove whose account it is? With `Authorization: Bearer API_KEY` there is nothing to write; else:
    #
    #     def headers(self) -> Mapping[str, str]:
    #         return {"X-Api-Key": self.options.api_key}

    async def create(self, request: VideoRequest) -> UpstreamJob:
        # Which call orders a video, and what are its fields called? It costs money: one post, never repeated here.
        body = {
            "model": request.model,
            "prompt": request.prompt,
            "seconds": request.seconds,
            "size": request.size,
            # Is there a field for a name or a key of ours, by which the job can be found again? Then override
            # recover(): a job whose answer was lost is delivered instead of given up.
            "reference": request.attempt_id,
        }
        if request.image:
            # How does a picture travel: as a data URI, as a part of a form, or by its address?
            body["image"] = request.image.data_uri
        return told(await self.upstream.post("/v1/tasks", json={**request.metadata, **body}))

    async def fetch(self, job: UpstreamJob) -> UpstreamJob:
        # Which call tells how a job is? It costs nothing, and may be made at any time.
        return told(await self.upstream.get(f"/v1/tasks/{job.id}"))

    def refusal(self, status: int, reply: Reply) -> ApiError | None:
        # What does an error look like? The status alone tells a wrong key, too many calls and a wrong request apart.
        if reply.get("error.code") in BLOCKED:
            return ModerationBlocked(str(reply.get("error.message")))
        return None

    # Is there a call that makes a variation of a finished video, that stops a job, or that removes one? Then override
    # remix(), cancel() and delete(). Does the film need the key? Then content() says so.


def told(reply: Reply) -> UpstreamJob:
    """The job of an answer; `need` and `choose` turn what is missing or unknown into an error that names it."""
    return UpstreamJob(
        id=reply.need("id"),
        status=reply.choose("state", STATES),
        progress=reply.get("progress"),
        # Where is the film, and when does that address end, in unix seconds?
        url=reply.get("video.url"),
        url_expires_at=reply.get("video.expires_at"),
        error=failure(reply),
    )


def failure(reply: Reply) -> JobError | None:
    """Why the job failed, if it did."""
    code = reply.get("error.code")
    if code is None:
        return None
    return JobError("moderation_blocked" if code in BLOCKED else "upstream_failed", reply.get("error.message"))


@hookimpl
def register_channel() -> type[Channel]:
    return Nova
