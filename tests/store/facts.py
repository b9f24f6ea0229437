"""The facts of the installation, as a test reads and writes them."""

from functools import partial

from proxy.store import Store, settings


async def fact(store: Store, name: str) -> str | None:
    return await store.read(partial(settings.find, name=name))


async def state(store: Store, name: str, value: str) -> None:
    """Write one, and with it what waits for the next commit."""
    await store.write(partial(settings.save, name=name, value=value))
