"""Every bound, with its reason."""

from __future__ import annotations

from typing import Final

VSCARD_PAYLOAD_MAX: Final = 65_524
"""Bytes. QEMU's 64 KiB input buffer holds the 12-byte header too; one byte more wedges it for good."""

R_APDU_MIN: Final = 2
"""Bytes. QEMU passes 0 and 1 byte on as a success, so we never send them."""

R_APDU_MAX: Final = 258
"""Bytes of an answer with its status word: a short response. usb-ccid drops answers over 374 silently."""

BULK_PACKET: Final = 64
"""Bytes of a full-speed bulk packet."""

CCID_HEADER: Final = 10
"""Bytes in front of every CCID answer; header plus answer must not be a multiple of BULK_PACKET on xHCI."""

C_APDU_MAX: Final = 65_544
"""Bytes: header, three-byte Lc, 65,535 bytes, two-byte Le; pcsc-lite's own limit."""

CARD_ANSWER_MAX: Final = 65_538
"""Bytes of the longest extended answer that a card can give: 65,536 and the status word."""

APDU_QUEUE_MAX: Final = 8
"""APDUs that wait while the card has one. Guests send one at a time (bMaxCCIDBusySlots 1), though QEMU queues 128."""

ATR_MAX: Final = 33
"""Bytes, ISO 7816-3. (QEMU would take 40.)"""

MEANINGLESS_MAX: Final = 16
"""Messages of one conversation that say nothing to us: QEMU sends none. Whoever goes on for ever only takes time from
other machines' bridges."""

STRAY_APDU_MAX: Final = 128
"""APDUs for an empty reader, one after the other: QEMU itself refuses them (ccid_on_apdu_from_guest), but for those
that its queue held when the card went out."""

SEND_BUFFER_MAX: Final = 256 * 1024
"""Bytes that wait for a peer that does not read; beyond this it is given up."""

UNIX_PATH_MAX: Final = 107
"""Bytes of a unix socket path: sun_path less its NUL."""

EMULATED_CARD_MAX: Final = 198
"""Bytes of database and certificate names with the words around them; one more and QEMU aborts at the start: the rest
of its 200-byte buffer is cut off, and libcacard runs over the end that it misses (ccid-card-emulated.c)."""

GUEST_PATIENCE: Final = 23.0
"""Seconds that a guest waits for an answer to a T=0 ATR with TC2 = 1 (libccid: 260 x WWT)."""

INSERT_GAP: Final = 0.2
"""Seconds between the ReaderRemove of a greeting and the first ATR. An idle guest sees a change after 10 ms; one that
misses it here goes on with the card that it had."""

CHANGE_GAP: Final = 1.0
"""Seconds between a CardRemove and the next ATR, or the guest takes the next card for the last one. After a command
that failed, Linux guests were seen to notice after 330 to 350 ms, and later on a busy host."""

CAME_IN_GAP: Final = CHANGE_GAP + 1.0
"""INSERT_GAP of a machine that was migrated, restored or set back: the ReaderRemove takes out a card that was in use a
moment ago, what the guest sends until then fails, as before a CHANGE_GAP, and such a guest is busier."""

LOST_ANSWER_GAP: Final = GUEST_PATIENCE + 2.0
"""Seconds between a CardRemove that met an APDU and the next ATR. QEMU forgets such an APDU; until the guest gives it
up, its pcscd does not look at the reader, and would go on with the last card's ATR."""

EJECT_QUIET: Final = 0.1
"""Seconds without an APDU before a CardRemove is safe; else UHCI guests hang."""

EJECT_PATIENCE: Final = 2.0
"""Seconds that the eject ceremony may take at most."""

ACK_PATIENCE: Final = 5.0
"""Seconds in which QEMU acknowledges a control message; a second client of a busy chardev gets nothing."""

TRANSMIT_PATIENCE: Final = 20.0
"""Seconds that a card may take for a command: below GUEST_PATIENCE, so that the guest hears it from us."""

LEASE_IDLE: Final = 2.0
"""Seconds without a command after which a shared card is given up when nobody is logged in."""

LEASE_IDLE_LOGGED_IN: Final = 15.0
"""The same with a verified PIN: giving it up costs the person the PIN again. Also for a guest that left a chain or an
answer unfinished, which takes milliseconds when all is well."""

LEASE_LAST_CALL: Final = 50.0
"""Seconds after which a lease ends with the exchange that is under way, however busy the guest is."""

LEASE_MAX: Final = 60.0
"""Seconds of the longest lease. A host program waits so long at most, the pause and one command: a chain that a hostile
guest never ends is cut."""

LEASE_PAUSE: Final = 0.25
"""Seconds in which none of ours takes a card that was given up: programs that wait for a transaction ask pcscd every
100 ms (PCSCLITE_LOCK_POLL_RATE), and those that only connect are looked after as often."""

LEASE_PATIENCE: Final = 15.0
"""Seconds from the beginning of a command in which it must have its lease and its turn at a PIN, a person's answer
before included: the rest of TRANSMIT_PATIENCE is for the reset, the selection and the command."""

SWITCH_INTERVAL: Final = 0.02
"""Seconds that a thread waits for the interpreter before it insists (sys.setswitchinterval). When a thousand guests are
busy at once, threads that insist every 5 ms do little else: 1,200 commands a second in all, and 6,500 with 20 ms."""

CONNECT_PATIENCE: Final = 10.0
"""Seconds for one attempt to connect over TCP, with its TLS handshake; the kernel would try for two minutes."""

HANDSHAKE_PATIENCE: Final = 5.0
"""Seconds that somebody who called us may take for the TLS handshake; it takes milliseconds."""

HANDSHAKES_MAX: Final = 8
"""TLS handshakes of callers at a time; with one more the oldest is ended, so that no stranger keeps QEMU out."""

TLS_FILE_MAX: Final = 4 * 1024 * 1024
"""Bytes of a PEM file: a list of a hundred thousand revoked certificates."""

BACKOFF_FIRST: Final = 0.1
"""Seconds: the first reconnect waits up to this long (full jitter)."""

BACKOFF_MAX: Final = 10.0
"""Seconds: no reconnect waits longer."""

REDEFINES_PER_MINUTE: Final = 5
"""Redefines of one domain in a minute; beyond it somebody fights us, and the state is `conflict`."""

HOTPLUG_MAX: Final = 8
"""Hot-plugged readers of one machine: more than anybody uses, and half of what a guest's pcscd takes
(PCSCLITE_MAX_READERS_CONTEXTS)."""

HOTPLUG_PATIENCE: Final = 3.0
"""Seconds in which QEMU lets go of a reader that was removed; it takes some milliseconds."""

HEAL_PAUSE: Final = 60.0
"""Seconds between two attempts to free a stuck reader: each holds up libvirt's thread when QEMU itself hangs."""

HOTPLUG_LOOK: Final = 0.02
"""Seconds between two looks whether it has."""

BRIDGE_PAUSE: Final = 5.0
"""Seconds until a bridge that ended by a fault of ours, or for which the host had no descriptor or thread left, begins
anew: time for a host to recover, and little for a person who waits."""

RECONCILE_PERIOD: Final = 60.0
"""Seconds between slow passes over everything, at least: some changes send no event."""

RECONCILE_PERIOD_MAX: Final = 600.0
"""And at most."""

PASS_SHARE: Final = 0.002
"""The part of the time that slow passes take, ours and libvirt's: a pass over a thousand domains takes one or two
seconds, and then the next comes after eight or ten minutes. Events tell of all changes meanwhile."""

PASS_PATIENCE: Final = 300.0
"""Seconds that one pass over everything may take before systemd's watchdog hears that the daemon does not live. With
a thousand domains it takes about ten, and with a libvirt that hangs LIBVIRT_DEADLINE a few times."""

PASS_LOOKS_MAX: Final = 64
"""Domains that one pass reads at once, and looks at together. Each may open a card on a thread of its own, and what a
thousand threads take at once leaves holes in the memory that stay; and between two reads libvirt's thread is free for
others. Cards that hang take a part of these places for a moment."""

LATECOMER_GAP: Final = 0.2
"""Seconds between two looks for a domain that nobody knows: everybody on the bus may ask for one."""

LIBVIRT_DEADLINE: Final = 20.0
"""Seconds for one libvirt call; D-Bus callers wait 25."""

LIBVIRT_WAITING_MAX: Final = 4096
"""Calls that wait for libvirt's thread: four for each of a thousand domains."""

LIBVIRT_STUCK_MAX: Final = 4
"""Calls that missed their deadline and hold a thread; beyond it none is tried until one comes back."""

DOMAIN_XML_MAX: Final = 4 * 1024 * 1024
"""Bytes: libvirt's own REMOTE_STRING_MAX."""

NSS_DATABASE_MAX: Final = 16 * 1024 * 1024
"""Bytes of the certificates of an NSS database; one with four has 36 KiB."""

CERTUTIL_PATIENCE: Final = 5.0
"""Seconds for one look into an NSS database; it takes 20 ms."""

PCSCD_PATIENCE: Final = 2.0
"""Seconds for asking pcscd's program for its version; it takes two milliseconds."""

SPICE_SERVER_PATIENCE: Final = 5.0
"""Seconds for asking the spice-server library what it can; it takes 60 ms."""

SPICE_LINK_MAX: Final = 4096
"""Bytes of a SPICE server's answer to a link message: 178 and a few capabilities. A server takes no more of ours."""

SPICE_CAPABILITIES_MAX: Final = 64
"""Words of capabilities in it; one word has served since SPICE began."""

SPICE_MESSAGE_MAX: Final = 512 * 1024
"""Bytes of a SPICE message without its header. The longest that a card's client gets is a ping of 256,000 bytes, by
which spice-server measures the network."""

SPICE_HOST_MAX: Final = 255
"""Bytes of the name of the host to which a machine moves."""

SPICE_PASSWORD_MAX: Final = 60
"""Bytes, SPICE_MAX_PASSWORD_LENGTH."""

COMPLETION_PATIENCE: Final = 2.0
"""Seconds that a shell waits for completions; a person types on sooner."""

SPICE_C_APDU_MAX: Final = 270
"""Bytes of a guest's command over SPICE: spice-server's buffer. With 12 more it stalls, and far beyond it runs over the
heap of QEMU (smartcard.cpp)."""

SPICE_CHANNELS_MAX: Final = 256
"""Channels of all clients of a SPICE server; a viewer has about ten."""

SPICE_VIEWER_SETTLE: Final = 3.0
"""Seconds after which a viewer has opened all the channels that it will; it takes less than one."""

QMP_PATIENCE: Final = 5.0
"""Seconds for a question to QEMU's monitor; it takes a millisecond."""

QMP_ANSWER_MAX: Final = 256 * 1024
"""Bytes of its answer: about 170 for each channel."""

CALL_PATIENCE: Final = 120.0
"""Seconds that a command waits for a change: a person may have to answer polkit's dialog first."""

SOURCE_LOAD_PATIENCE: Final = 5.0
"""Seconds that the code of a card source may take to load; PC/SC's takes 0.1, and virtcardd starts meanwhile."""

WATCH_PATIENCE: Final = 5.0
"""Seconds of one wait for reader changes: finite, since SCardCancel without a waiter is lost."""

WATCH_STOP_PATIENCE: Final = 2.0
"""Seconds that the end of the reader watcher may take; a thread stuck in pcscd is given up then."""

BUS_CALL_PATIENCE: Final = 25.0
"""Seconds for one D-Bus call, the default of every D-Bus library."""

BUS_CONNECT_PATIENCE: Final = 10.0
"""Seconds for the handshake with a bus."""

SYSTEM_BUS_PAUSE: Final = 2.0
"""Seconds between two looks of a session instance for a system bus that is away."""

BUS_FLUSH_PATIENCE: Final = 2.0
"""Seconds to send what waits before a connection is closed."""

BUS_AUTH_LINE_MAX: Final = 1024
"""Bytes of a line of the bus's handshake; it has about 40."""

BUS_MESSAGES_PER_TURN: Final = 64
"""D-Bus messages read before others in the event loop have their turn."""

CHECKS_PER_USER: Final = 16
"""Authorization checks of one user that may be open: the bus gives us 128 replies to wait for, for everybody."""

LOOKS_PER_USER: Final = 8
"""Calls of one user in work that anybody may make and that take libvirt's thread, files or a thread of their own: more
than a desktop and a terminal make together, and too few to keep others waiting."""

ASK_PATIENCE: Final = 60.0
"""Seconds that a person has to answer before a card is put in; CALL_PATIENCE has room for it and polkit's dialog."""

ASK_IN_COMMAND_PATIENCE: Final = 12.0
"""Seconds to answer while the guest waits for a command: with the card's own time below TRANSMIT_PATIENCE."""

ASK_TIME: Final = 600
"""Seconds of a yes "for a time" where the policy lets a person allow more, and so names no time itself."""

DENY_PAUSE: Final = 30.0
"""Seconds after a no in which the same question is a no without being asked: a guest can ask thousands of times."""

QUESTIONS_MAX: Final = 8
"""Questions that wait for a person at the same time, one for each domain; more than that nobody reads."""

ANSWERS_MAX: Final = 4096
"""Answers that are remembered: a few for each of a thousand domains."""

GRANTS_MAX: Final = 512
"""Grants that are kept: a few for each machine, and half of POLICY_FILES_MAX."""

NOTICE_PAUSE: Final = 60.0
"""Seconds in which a person is told the same of the same domain once."""

AGENT_GRACE: Final = 3.0
"""Seconds after the daemon's start in which a question waits for an agent: agents come when they see its name."""

AGENTS_PER_USER: Final = 8
"""Agents of one user: one for each session and terminal."""

JOURNAL_VALUE_MAX: Final = 8192
"""Bytes of one value in the journal. Counts of all 256 instructions take 6 KiB, and all fields of a record together
stay below what a datagram carries."""

RECORD_PAUSE: Final = 10.0
"""Seconds between two records of the same kind about the same domain or user: what a guest or a caller may repeat at
will must not flood the journal, whose own limit would drop others' records. The next tells what came meanwhile."""

RECORD_SUBJECTS_MAX: Final = 4096
"""Kinds and subjects of records that are remembered for that."""

AGENT_RETRY_FIRST: Final = 1.0
"""Seconds before an agent looks for a lost bus again; then twice as long each time."""

AGENT_RETRY_MAX: Final = 30.0
"""Seconds: an agent is registered again this soon at the latest."""

DESKTOP_PATIENCE: Final = 2.0
"""Seconds for a call that a desktop answers without asking anybody."""

ACTIVE_LOOKS: Final = 3
"""Looks at the counters, one a second, in which a guest that talked to its card counts as doing so: a pause between two
commands of one piece of work is shorter, and a desktop shall not flicker."""

TRACE_PACKETS_MAX: Final = 8192
"""Packets of a trace that wait for a slow reader: some seconds of a busy card. What comes beyond is lost, and counted
as that."""

TRACE_BYTES_MAX: Final = 4 * 1024 * 1024
"""Bytes of them, since an extended APDU has up to 64 KiB."""

TRACE_CHUNK: Final = 64 * 1024
"""Bytes of a trace that are made in one turn of the event loop, which others want too."""

CAPTURE_BLOCK_MAX: Final = 1024 * 1024
"""Bytes of one block of a capture: an extended APDU takes 65 KiB."""

TRACES_MAX: Final = 4
"""Traces of one bridge at a time: each slows its commands by some microseconds."""

TRACE_END_PATIENCE: Final = 2.0
"""Seconds in which a reader must take the rest of a trace that ends."""

CARD_FILE_MAX: Final = 1024 * 1024
"""Bytes of a software card's file: thirty keys and certificates take a third of it, and reading it stays quick."""

NSS_PATIENCE: Final = 5.0
"""Seconds for one call of certutil or pk12util, which takes half a second: three keys within TRANSMIT_PATIENCE."""

NSS_LONG_PATIENCE: Final = 60.0
"""The same where no card waits: a new RSA key takes a second, and anything more than five on a busy machine."""

CARD_STORE_PATIENCE: Final = 5.0
"""Seconds to wait for whoever makes or deletes a card: the slowest step, a new test authority, takes less than one."""

CARD_SETTLE: Final = 0.1
"""Seconds between a change in the store of cards and the look at it: a VERIFY writes the card's file twice."""

POLICY_PERIOD: Final = 1.0
"""Seconds between looks at the policy files, which take less than a millisecond."""

POLICY_FILE_MAX: Final = 256 * 1024
"""Bytes of a policy file: a thousand rules of ten lines."""

POLICY_LINE_MAX: Final = 4096
"""Characters of a line of it: tomllib needs a second for a key with 5,000 dots, and 20 for one with four times that."""

POLICY_FILES_MAX: Final = 1000
"""Files in one policy directory; beyond it something other than a person writes them."""

POLICY_RULES_MAX: Final = 10_000
"""Rules of a policy: deciding by all of them takes about ten milliseconds."""

POLICY_PATTERN_MAX: Final = 256
"""Characters of a glob: a PC/SC reader name has 127 at most, as a source has twice that."""

POLICY_APPLICATIONS_MAX: Final = 64
"""Applications of one command table; cards with more than ten are rare."""

POLICY_COMMANDS_MAX: Final = 256
"""Commands that a table allows or denies for an application: there are no more instructions."""

POLICY_PIN_RESERVE_MAX: Final = 15
"""PIN tries: a card tells them in four bits (ISO 7816-4, 63Cx)."""

METRICS_PERIOD: Final = 15.0
"""Seconds between two files of metrics: how often Prometheus is usually set up to look."""

METRICS_BRIDGES_MAX: Final = 2000
"""Bridges with time series of their own, seven each; twice what one host is made for. All of them are in the totals."""

METRICS_READERS_MAX: Final = 200
"""Host readers with a time series of their own: pcscd refuses the 200th context of a process."""

METRICS_LABEL_MAX: Final = 255
"""Characters of a name in a label: a PC/SC reader name has 127 at most, and a file name of libvirt's 255."""

SECRETS_MAX: Final = 2 * 1024 * 1024
"""Bytes that a one-time socket takes: a PKCS #12 file of 1 MiB in base64."""

SECRETS_CONNECT_PATIENCE: Final = 30.0
"""Seconds that a one-time socket is open: a person gave the secrets before the call, so that a program connects."""

SECRETS_SEND_PATIENCE: Final = 10.0
"""Seconds for all that is sent over a one-time socket, which takes a millisecond."""

SECRETS_PER_USER: Final = 4
"""One-time sockets of one user at a time: each may cost the making of four RSA keys."""

SECRETS_OPEN_MAX: Final = 16
"""One-time sockets of all users at a time."""

SECRETS_ANSWER_MAX: Final = 256 * 1024
"""Bytes of the answer over a one-time socket; a path and thirty warnings take a few thousand."""

GUARD_HEADERS_MAX: Final = 1024
"""Headers of commands that a guard remembers to let through; a guest may send any number of different ones."""

GUARD_SELECTS_MAX: Final = 64
"""SELECTs that it remembers; guests' programs use about a dozen names."""

PIN_TRIES_ASSUMED: Final = 3
"""Tries of a PIN on a card that does not tell: the fewest that cards are commonly issued with."""

KEY_TRIES_ASSUMED: Final = 10
"""Tries of a symmetric key on a card that does not tell; card managers lock themselves after ten."""

PIN_QUESTION_PARTS_MAX: Final = 10
"""GET RESPONSEs for the answer to a question for tries: ten bytes, or the list of HSMAUTH's 32 credentials, 70 each."""
