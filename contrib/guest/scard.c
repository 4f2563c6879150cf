/* PC/SC for test scripts in the guest: raw APDUs, with every return code and time.
 *
 *   scard list                             one line a reader: state, ATR or -, name
 *   scard wait SECONDS READER STATE        until that reader is `empty` or `present`; exit code 1 when it never is
 *   scard run READER STEP...               over one shared handle: an APDU in hex; `reset` or `unpower` (reconnect);
 *                                          `begin` and `end` (transaction); `sleep:MS`; `times:N` (repeat the next APDU)
 *
 * READER is the number of the reader in the list, from 0. `run` prints one line a step: microseconds, then the answer in
 * hex, `ok`, or `error 0x...`; with `times:N` the median, and the last answer. Its exit code is 1 when a step failed.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <winscard.h>

#define READERS_MAX 16
#define COMMAND_MAX 65544
#define REPEAT_MAX 100000

static SCARDCONTEXT context;
static char names[4096];
static const char *readers[READERS_MAX];
static DWORD reader_count;

static int failed(const char *what, LONG code)
{
	fprintf(stderr, "%s: error 0x%08lX %s\n", what, (unsigned long)code & 0xFFFFFFFFUL, pcsc_stringify_error(code));
	return 1;
}

static uint64_t now_us(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000U + (uint64_t)time.tv_nsec / 1000U;
}

static void print_hex(const BYTE *bytes, DWORD count)
{
	for (DWORD i = 0; i < count; i++)
		printf("%02X", bytes[i]);
}

static LONG find_readers(void)
{
	DWORD size = sizeof names;
	LONG code = SCardListReaders(context, NULL, names, &size);
	reader_count = 0;
	if (code == SCARD_E_NO_READERS_AVAILABLE)
		return SCARD_S_SUCCESS;
	if (code != SCARD_S_SUCCESS)
		return code;
	for (const char *name = names; *name && reader_count < READERS_MAX; name += strlen(name) + 1)
		readers[reader_count++] = name;
	return SCARD_S_SUCCESS;
}

static const char *state_name(DWORD state)
{
	if (state & SCARD_STATE_EMPTY)
		return "empty";
	if (state & SCARD_STATE_MUTE)
		return "mute";
	return state & SCARD_STATE_PRESENT ? "present" : "unknown";
}

static int list(void)
{
	for (DWORD i = 0; i < reader_count; i++) {
		SCARD_READERSTATE state = {.szReader = readers[i]};
		LONG code = SCardGetStatusChange(context, 0, &state, 1);
		if (code == SCARD_E_UNKNOWN_READER) /* it has gone since the readers were listed */
			continue;
		if (code != SCARD_S_SUCCESS)
			return failed("list", code);
		printf("%s ", state_name(state.dwEventState));
		print_hex(state.rgbAtr, state.cbAtr);
		printf("%s %s\n", state.cbAtr ? "" : "-", readers[i]);
	}
	return 0;
}

static int wait_for(double seconds, const char *reader, const char *wanted)
{
	uint64_t deadline = now_us() + (uint64_t)(seconds * 1e6);
	SCARD_READERSTATE state = {.szReader = reader};
	for (;;) {
		uint64_t now = now_us();
		LONG code = SCardGetStatusChange(context, now < deadline ? (DWORD)((deadline - now) / 1000U) : 0, &state, 1);
		if (code == SCARD_E_TIMEOUT)
			return 1;
		if (code != SCARD_S_SUCCESS)
			return failed("wait", code);
		if (strcmp(state_name(state.dwEventState), wanted) == 0)
			return 0;
		state.dwCurrentState = state.dwEventState;
	}
}

static DWORD unhex(const char *text, BYTE *bytes)
{
	DWORD count = 0;
	unsigned value;
	while (count < COMMAND_MAX && sscanf(text + 2 * count, "%2x", &value) == 1)
		bytes[count++] = (BYTE)value;
	return count;
}

static int by_value(const void *left, const void *right)
{
	uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
	return (a > b) - (a < b);
}

static LONG transmit(SCARDHANDLE card, DWORD protocol, const char *hex, unsigned times)
{
	static BYTE command[COMMAND_MAX], answer[COMMAND_MAX];
	static uint64_t spent[REPEAT_MAX];
	DWORD size = unhex(hex, command), got = 0;
	LONG code = SCARD_S_SUCCESS;
	unsigned done = 0;
	while (done < times && code == SCARD_S_SUCCESS) {
		uint64_t started = now_us();
		got = sizeof answer;
		code = SCardTransmit(card, protocol == SCARD_PROTOCOL_T1 ? SCARD_PCI_T1 : SCARD_PCI_T0, command, size, NULL,
				     answer, &got);
		spent[done++] = now_us() - started;
	}
	qsort(spent, done, sizeof spent[0], by_value);
	printf("%llu ", (unsigned long long)spent[done / 2]);
	if (code == SCARD_S_SUCCESS)
		print_hex(answer, got);
	return code;
}

static LONG step(SCARDHANDLE card, DWORD *protocol, const char *text, unsigned *times)
{
	const DWORD both = SCARD_PROTOCOL_T0 | SCARD_PROTOCOL_T1;
	uint64_t started = now_us();
	LONG code = SCARD_S_SUCCESS;
	if (sscanf(text, "times:%u", times) == 1)
		*times = *times < 1 ? 1 : *times > REPEAT_MAX ? REPEAT_MAX : *times;
	else if (strncmp(text, "sleep:", 6) == 0)
		usleep((useconds_t)atoi(text + 6) * 1000U);
	else if (strcmp(text, "begin") == 0)
		code = SCardBeginTransaction(card);
	else if (strcmp(text, "end") == 0)
		code = SCardEndTransaction(card, SCARD_LEAVE_CARD);
	else if (strcmp(text, "reset") == 0)
		code = SCardReconnect(card, SCARD_SHARE_SHARED, both, SCARD_RESET_CARD, protocol);
	else if (strcmp(text, "unpower") == 0)
		code = SCardReconnect(card, SCARD_SHARE_SHARED, both, SCARD_UNPOWER_CARD, protocol);
	else {
		code = transmit(card, *protocol, text, *times);
		*times = 1;
		if (code == SCARD_S_SUCCESS) {
			printf("\n");
			return code;
		}
		printf("error 0x%08lX\n", (unsigned long)code & 0xFFFFFFFFUL);
		return code;
	}
	printf("%llu ", (unsigned long long)(now_us() - started));
	if (code == SCARD_S_SUCCESS)
		printf("ok\n");
	else
		printf("error 0x%08lX\n", (unsigned long)code & 0xFFFFFFFFUL);
	return code;
}

static int run(const char *reader, int count, char **steps)
{
	SCARDHANDLE card;
	DWORD protocol;
	unsigned times = 1;
	int result = 0;
	LONG code = SCardConnect(context, reader, SCARD_SHARE_SHARED, SCARD_PROTOCOL_T0 | SCARD_PROTOCOL_T1, &card, &protocol);
	if (code != SCARD_S_SUCCESS)
		return failed("run", code);
	for (int i = 0; i < count; i++) {
		if (step(card, &protocol, steps[i], &times) != SCARD_S_SUCCESS)
			result = 1;
		fflush(stdout);
	}
	SCardDisconnect(card, SCARD_LEAVE_CARD);
	return result;
}

static const char *numbered(const char *number)
{
	unsigned index = (unsigned)atoi(number);
	if (index < reader_count)
		return readers[index];
	fprintf(stderr, "there is no reader %s\n", number);
	exit(2);
}

int main(int argc, char **argv)
{
	LONG code = SCardEstablishContext(SCARD_SCOPE_SYSTEM, NULL, NULL, &context);
	if (code == SCARD_S_SUCCESS)
		code = find_readers();
	if (code != SCARD_S_SUCCESS)
		return failed("pcscd", code);
	if (argc == 2 && strcmp(argv[1], "list") == 0)
		return list();
	if (argc == 5 && strcmp(argv[1], "wait") == 0)
		return wait_for(atof(argv[2]), numbered(argv[3]), argv[4]);
	if (argc >= 4 && strcmp(argv[1], "run") == 0)
		return run(numbered(argv[2]), argc - 3, argv + 3);
	fprintf(stderr, "usage: scard list | wait SECONDS READER STATE | run READER STEP...\n");
	return 2;
}
