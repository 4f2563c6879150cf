"""The only `import libvirt`: one connection, its events, its domains.

Calls are synchronous and belong on one worker thread (worker.py); the listener is called on the event thread.
libvirtaio is not used: its handles belong to the loop's thread, and API calls from another one upset it.
"""

from __future__ import annotations

import atexit
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from uuid import UUID

import libvirt
import libvirt_qemu

from virtcard.domain.events import EventKind, HypervisorEvent
from virtcard.domain.failure import ErrorCode, failure, lost, no_domain, open_failure
from virtcard.domain.hotplug import Command, Reply, read_reply
from virtcard.domain.probe import BARE, WITH_CARD, WITH_EMULATED_CARD, WITH_SPICE_CARD, schema_probe, uuid_of
from virtcard.domain.record import DomainRecord, state_word
from virtcard.domain.viewers import EVENTS, read_event
from virtcard.errors import Disconnected, InvalidXml, NoSuchDomain, Unsupported, VirtcardError

log = logging.getLogger(__name__)

KEEPALIVE_INTERVAL, KEEPALIVE_COUNT = 5, 3
"""A libvirtd that answers nothing is given up after 5 s x (3 + 1): the length of limits.LIBVIRT_DEADLINE."""

LEFT_OUT = (ErrorCode.NO_DOMAIN, ErrorCode.ACCESS_DENIED)
"""One domain that is gone, or closed to us by libvirt's access rules, must not hide the others."""

INACTIVE_SECURE = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE


class _EventLoop:
    """libvirt's default event loop on a thread of its own. libvirt takes one per process, for ever."""

    def __init__(self) -> None:
        libvirt.registerErrorHandler(lambda *_: None, None)
        libvirt.virEventRegisterDefaultImpl()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="libvirt-events", daemon=True)
        self._thread.start()
        atexit.register(self._stop)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                libvirt.virEventRunDefaultImpl()
            except libvirt.libvirtError:
                log.exception("libvirt's event loop failed once")
                self._stopping.wait(0.1)

    def _stop(self) -> None:
        """A thread inside libvirt while the interpreter ends can hang it, so a timeout wakes it to leave before."""
        self._stopping.set()
        libvirt.virEventAddTimeout(0, lambda *_: None, None)
        self._thread.join(timeout=2)


_loop_lock = threading.Lock()
_loop: list[_EventLoop] = []


def ensure_event_loop() -> None:
    """Start libvirt's event loop, once per process. Must come before the first connection."""
    with _loop_lock:
        if not _loop:
            _loop.append(_EventLoop())


def our_error(error: libvirt.libvirtError) -> VirtcardError:
    """The error of the tree for one of libvirt's, when the connection still stands."""
    return failure(_code(error), _text(error))


def _code(error: libvirt.libvirtError) -> int:
    return error.get_error_code() or 0


def _text(error: libvirt.libvirtError) -> str:
    """libvirt's text, without the words that only say its code once more ("unsupported configuration: ")."""
    message, pattern, detail = error.get_error_message() or str(error), error.get_str1() or "", error.get_str2() or ""
    return detail if detail and pattern.replace("%s", detail, 1) == message else message


def _version(ask: Callable[[], int]) -> str:
    """libvirt's way to write a version in a number: 1,000,000 x major + 1,000 x minor + release."""
    try:
        number = ask()
    except libvirt.libvirtError:
        return ""
    return f"{number // 1_000_000}.{number // 1_000 % 1_000}.{number % 1_000}"


def _is_qemu(connection: libvirt.virConnect) -> bool:
    try:
        return bool(connection.getType() == "QEMU")
    except libvirt.libvirtError:
        return False


@dataclass(frozen=True, slots=True)
class Listing:
    """Which domains there were at one moment, and which of them were persistent or saved."""

    domains: tuple[libvirt.virDomain, ...]
    persistent: frozenset[bytes]
    saved: frozenset[bytes]

    @property
    def uuids(self) -> set[UUID]:
        """Those of all domains."""
        return {_uuid(domain) for domain in self.domains}


class Hypervisor:
    """One libvirt connection. Every method but `alive` may block, and raises a VirtcardError.

    `listener` is called on libvirt's event thread: it must return at once and not call back into libvirt."""

    def __init__(self, uri: str, listener: Callable[[HypervisorEvent], None]) -> None:
        self.uri = uri
        self._listener = listener
        self._connection: libvirt.virConnect | None = None
        self._callbacks: list[int] = []
        self._monitor_callback: int | None = None
        self._alive = False
        self._closes = 0

    @property
    def alive(self) -> bool:
        """Open, and libvirt has not gone away since. Never blocks."""
        return self._alive

    def open(self) -> None:
        """Open or reopen the connection; events that happened before are not replayed, so read everything after."""
        ensure_event_loop()
        self.close()
        closes = self._closes
        try:
            self._connection = libvirt.open(self.uri)
            self._alive = True
            self._register(self._connection)
        except libvirt.libvirtError as error:
            self.close()
            raise open_failure(self.uri, _code(error), error.get_error_domain() or 0, _text(error)) from None
        if closes != self._closes:
            self.close()
            raise Disconnected("The connection to libvirt was closed while it opened.")

    def close(self) -> None:
        """Close the connection, without a CLOSED event. Domains go on. An `open` that hangs elsewhere ends closed."""
        self._closes += 1
        connection, self._connection, self._alive = self._connection, None, False
        if connection is None:
            return
        callbacks, self._callbacks = self._callbacks, []
        monitor_callback, self._monitor_callback = self._monitor_callback, None
        if monitor_callback is not None:
            with suppress(libvirt.libvirtError):
                libvirt_qemu.qemuMonitorEventDeregister(connection, monitor_callback)
        for callback in callbacks:
            with suppress(libvirt.libvirtError):
                connection.domainEventDeregisterAny(callback)
        for end in (connection.unregisterCloseCallback, connection.close):
            with suppress(libvirt.libvirtError):
                end()

    def domain_uuids(self) -> list[UUID]:
        """All domains, running or not."""
        with self._translated():
            return [_uuid(domain) for domain in self._open_connection().listAllDomains(0)]

    def record(self, uuid: UUID) -> DomainRecord:
        """One domain as it is now; NoSuchDomain."""
        with self._translated():
            domain = self._domain(uuid)
            return _read(domain, bool(domain.isPersistent()), bool(domain.hasManagedSaveImage()))

    def listing(self) -> Listing:
        """All domains, to be read a few at a time."""
        with self._translated():
            connection = self._open_connection()
            return Listing(
                tuple(connection.listAllDomains(0)),
                _ids(connection, libvirt.VIR_CONNECT_LIST_DOMAINS_PERSISTENT),
                _ids(connection, libvirt.VIR_CONNECT_LIST_DOMAINS_MANAGEDSAVE),
            )

    def read(self, listing: Listing, begin: int = 0, count: int | None = None) -> list[DomainRecord]:
        """Domains of a listing that this user may read, `count` from `begin` on; one that has vanished is left out."""
        found = []
        with self._translated():
            for domain in listing.domains[begin : None if count is None else begin + count]:
                try:
                    uuid = domain.UUID()
                    found.append(_read(domain, uuid in listing.persistent, uuid in listing.saved))
                except libvirt.libvirtError as error:
                    if _code(error) not in LEFT_OUT:
                        raise
        return found

    def records(self) -> list[DomainRecord]:
        """All domains that this user may read."""
        return self.read(self.listing())

    def define(self, xml: str) -> None:
        """Redefine a domain, checked against libvirt's schema first.

        Parts of the user's own XML that never followed the schema are let through, ours are not. InvalidXml,
        Unsupported (two cards, USB switched off, QEMU without the devices) and LibvirtFailed come with a sentence."""
        connection = self._open_connection()
        try:
            connection.defineXMLFlags(xml, libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
        except libvirt.libvirtError as error:
            if _code(error) != ErrorCode.XML_INVALID_SCHEMA or not self._was_invalid_before(xml):
                raise self._error(error) from None
            with self._translated():
                connection.defineXMLFlags(xml, 0)

    def set_metadata(self, uuid: UUID, xml: str | None, *, uri: str, key: str, live: bool, config: bool) -> None:
        """Set, or with None remove, the metadata element of the namespace `uri`, with the prefix `key`.

        `live` needs a running domain and `config` a persistent one, else DomainStateError; neither means
        whatever there is now. Malformed `xml` is InvalidXml."""
        flags = live * libvirt.VIR_DOMAIN_AFFECT_LIVE | config * libvirt.VIR_DOMAIN_AFFECT_CONFIG
        with self._translated():
            self._domain(uuid).setMetadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, xml, key, uri, flags)

    def versions(self) -> tuple[str, str]:
        """Of libvirt and of its QEMU; "" for what is not known, or for another driver's hypervisor."""
        connection = self._open_connection()
        return _version(connection.getLibVersion), _version(connection.getVersion) if _is_qemu(connection) else ""

    def monitor(self, uuid: UUID, command: Command, passed: socket.socket | None = None) -> Reply:
        """Send one command to QEMU's monitor, with a socket when it takes one. libvirt marks the domain as tainted.

        What QEMU refuses is in the reply; Unsupported where there is no monitor, or a libvirt before 8.2 for sockets,
        DomainStateError when the domain is off."""
        with self._translated():
            domain = self._domain(uuid)
            if not command.takes_socket or passed is None:
                return read_reply(libvirt_qemu.qemuMonitorCommand(domain, command.text, 0))
            send = getattr(libvirt_qemu, "qemuMonitorCommandWithFiles", None)
            if send is None:
                raise Unsupported("This libvirt cannot hand a socket to QEMU.", hint="libvirt 8.2 and later can.")
            answer, _ = send(domain, command.text, [passed.fileno()], 0)
            return read_reply(answer)

    def passthru_supported(self) -> bool | None:
        """Whether this QEMU has usb-ccid and ccid-card-passthru; None when the driver cannot tell.

        Domain capabilities do not show it (as of libvirt 12), so a minimal domain is translated to a command line."""
        return self._supports(WITH_CARD)

    def emulated_supported(self) -> bool | None:
        """The same for ccid-card-emulated."""
        return self._supports(WITH_EMULATED_CARD)

    def spice_supported(self) -> bool | None:
        """The same for SPICE, and smart cards over it."""
        return self._supports(WITH_SPICE_CARD)

    def _supports(self, probe: str) -> bool | None:
        if self._native(BARE) is not None:
            return None
        code = self._native(probe)
        return True if code is None else False if code == ErrorCode.CONFIG_UNSUPPORTED else None

    def _native(self, xml: str) -> int | None:
        """libvirt's error code for `xml` as a command line, None when it works; Disconnected."""
        try:
            self._open_connection().domainXMLToNative("qemu-argv", xml, 0)
        except libvirt.libvirtError as error:
            if isinstance(ours := self._error(error), Disconnected):
                raise ours from None
            return _code(error)
        return None

    def _was_invalid_before(self, xml: str) -> bool:
        """Whether `xml` is that of a domain that exists, and what is ours in it follows the schema."""
        with suppress(InvalidXml, ValueError, NoSuchDomain), self._translated():
            self._domain(UUID(uuid_of(xml)))
            return not self._schema_refuses(schema_probe(xml))
        return False

    def _schema_refuses(self, probe: str) -> bool:
        try:
            self._open_connection().defineXMLFlags(probe, libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
        except libvirt.libvirtError as error:
            return _code(error) == ErrorCode.XML_INVALID_SCHEMA
        return False

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except libvirt.libvirtError as error:
            raise self._error(error) from None

    def _error(self, error: libvirt.libvirtError) -> VirtcardError:
        """A daemon passes on the errors of its own lost sockets (virtlogd), so the connection itself is asked."""
        connection = self._connection
        with suppress(libvirt.libvirtError):
            if connection is not None and connection.isAlive():
                return our_error(error)
        return lost(_code(error), _text(error))

    def _open_connection(self) -> libvirt.virConnect:
        if self._connection is None or not self._alive:
            raise Disconnected("libvirt is not connected.", hint="It comes back by itself when libvirt runs again.")
        return self._connection

    def _domain(self, uuid: UUID) -> libvirt.virDomain:
        try:
            return self._open_connection().lookupByUUID(uuid.bytes)
        except libvirt.libvirtError as error:
            if _code(error) != ErrorCode.NO_DOMAIN:
                raise
            raise no_domain(uuid) from None

    def _register(self, connection: libvirt.virConnect) -> None:
        with suppress(libvirt.libvirtError):  # the test driver and embedded QEMU have no keepalive
            connection.setKeepAlive(KEEPALIVE_INTERVAL, KEEPALIVE_COUNT)
        connection.registerCloseCallback(self._on_close, None)
        handlers = (
            (libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._on_lifecycle),
            (libvirt.VIR_DOMAIN_EVENT_ID_REBOOT, self._on_reboot),
            (libvirt.VIR_DOMAIN_EVENT_ID_METADATA_CHANGE, self._on_metadata),
        )
        for event, handler in handlers:
            self._callbacks.append(connection.domainEventRegisterAny(None, event, handler, None))
        with suppress(libvirt.libvirtError):  # other drivers than QEMU's have no monitor
            flags = libvirt_qemu.VIR_CONNECT_DOMAIN_QEMU_MONITOR_EVENT_REGISTER_REGEX
            register = libvirt_qemu.qemuMonitorEventRegister
            self._monitor_callback = register(connection, None, EVENTS, self._on_monitor, None, flags)

    @property
    def tells_of_viewers(self) -> bool:
        """Events of the kind VIEWER come. No command is sent to a monitor for it, so that no domain is tainted."""
        return self._monitor_callback is not None

    def _on_monitor(
        self, _c: object, domain: libvirt.virDomain, name: str, _s: int, _u: int, details: str | None, _o: object
    ) -> None:
        if (viewer := read_event(name, details)) is not None:
            self._tell(HypervisorEvent(EventKind.VIEWER, _uuid(domain), viewer=viewer))

    def _on_close(self, connection: libvirt.virConnect, reason: int, _o: object) -> None:
        if connection is self._connection and self._alive:
            self._alive = False
            self._tell(HypervisorEvent(EventKind.CLOSED, None, reason))

    def _on_lifecycle(self, _c: object, domain: libvirt.virDomain, event: int, detail: int, _o: object) -> None:
        self._tell(HypervisorEvent(EventKind.LIFECYCLE, _uuid(domain), event, detail))

    def _on_reboot(self, _c: object, domain: libvirt.virDomain, _opaque: object) -> None:
        self._tell(HypervisorEvent(EventKind.REBOOT, _uuid(domain)))

    def _on_metadata(self, _c: object, domain: libvirt.virDomain, kind: int, uri: str | None, _o: object) -> None:
        self._tell(HypervisorEvent(EventKind.METADATA, _uuid(domain), kind, namespace=uri or ""))

    def _tell(self, event: HypervisorEvent) -> None:
        try:
            self._listener(event)
        except Exception:
            log.exception("The listener failed on %s", event)


def _uuid(domain: libvirt.virDomain) -> UUID:
    return UUID(bytes=domain.UUID())


def _ids(connection: libvirt.virConnect, flags: int) -> frozenset[bytes]:
    """UUIDs of the domains that `flags` (virConnectListAllDomainsFlags) choose: one call, not one per domain."""
    return frozenset(domain.UUID() for domain in connection.listAllDomains(flags))


def _read(domain: libvirt.virDomain, persistent: bool, managed_save: bool) -> DomainRecord:
    state = domain.state()[0]
    running = state != libvirt.VIR_DOMAIN_SHUTOFF and bool(state != libvirt.VIR_DOMAIN_CRASHED or domain.isActive())
    return DomainRecord(
        uuid=_uuid(domain),
        name=domain.name(),
        id=domain.ID() if running else -1,
        state=state_word(state),
        running=running,
        persistent=persistent,
        managed_save=managed_save,
        inactive_xml=domain.XMLDesc(INACTIVE_SECURE),
        live_xml=domain.XMLDesc(0) if running else None,
    )
