/* test_log.c - log lines: quoting, cuts, and that nothing a peer sends can forge a line or a field. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <jansson.h>
#include <cmocka.h>

#include "base/log.h"
#include "base/span.h"

static char last[LOG_LINE + 1];
static size_t lines;

static void sink(enum log_level level, bool json, const char *text, size_t n)
{
	(void)level;
	(void)json;
	assert_true(n < sizeof(last));
	memcpy(last, text, n);
	last[n] = '\0';
	lines++;
}

/* One line with one value. */
static const char *one(bool json, const char *key, const void *p, size_t n)
{
	struct log_line l;

	log_setup(LOG_INFO, json, sink);
	assert_true(log_begin(&l, LOG_WARN, "refused"));
	log_bytes(&l, key, p, n);
	log_end(&l);
	return last;
}

static const char *text_of(const char *value)
{
	return one(false, "v", value, strlen(value));
}

/* What a reader of JSON gets back. */
static json_t *parse_last(void)
{
	char object[LOG_LINE + 3];
	json_error_t error;
	json_t *j;

	snprintf(object, sizeof(object), "{%s}", last);
	j = json_loads(object, JSON_REJECT_DUPLICATES, &error);
	if (!j)
		fail_msg("%s at %d in %s", error.text, error.position, object);
	return j;
}

static void test_fields(void **state)
{
	struct log_line l;

	(void)state;
	log_setup(LOG_INFO, false, sink);
	assert_true(log_begin(&l, LOG_INFO, "closed"));
	log_hex(&l, "session", 0xab12);
	log_str(&l, "service", "echo");
	log_str(&l, "absent", NULL);
	log_uint(&l, "open", UINT64_MAX);
	log_seconds(&l, "lasted", UINT64_C(1204567890));
	log_errno(&l, -ECONNREFUSED);
	log_errno(&l, 0);
	log_end(&l);
	assert_string_equal(last, "info closed session=ab12 service=echo open=18446744073709551615 lasted=1.204 "
				  "error=\"Connection refused\"");
}

static void test_fields_json(void **state)
{
	struct log_line l;
	json_t *j;

	(void)state;
	log_setup(LOG_INFO, true, sink);
	assert_true(log_begin(&l, LOG_ERROR, "closed"));
	log_hex(&l, "session", 0xab12);
	log_uint(&l, "open", 7);
	log_seconds(&l, "lasted", 5000000);
	log_errno(&l, 9999);
	log_end(&l);
	assert_string_equal(last, "\"level\":\"error\",\"event\":\"closed\",\"session\":\"ab12\",\"open\":7,"
				  "\"lasted\":0.005,\"error\":\"errno 9999\"");
	j = parse_last();
	assert_int_equal(json_integer_value(json_object_get(j, "open")), 7);
	json_decref(j);
}

/* ---- who else gets them ---- */

static char tapped[LOG_LINE + 1];
static const char *wanted;

static bool wants(const char *event)
{
	return wanted && strcmp(event, wanted) == 0;
}

static void take(enum log_level level, bool json, const char *text, size_t n)
{
	(void)level;
	assert_true(json && n < sizeof(tapped));
	memcpy(tapped, text, n);
	tapped[n] = '\0';
}

static void say(enum log_level level, const char *event)
{
	struct log_line l;

	last[0] = tapped[0] = '\0';
	if (!log_begin(&l, level, event))
		return;
	log_str(&l, "service", "e \"");
	log_item(&l, "address", "tcp:1");
	log_item(&l, "address", "tcp:2");
	log_uint(&l, "n", 3);
	log_end(&l);
}

/* As JSON and of all levels, whatever the log is; and only what is wanted. */
static void test_tap(void **state)
{
	static const struct log_tap tap = { wants, take };
	static const char as_text[] = "info opened service=\"e \\\"\" address=tcp:1 address=tcp:2 n=3";
	static const char as_json[] = "\"level\":\"info\",\"event\":\"opened\",\"service\":\"e \\\"\","
				      "\"address\":[\"tcp:1\",\"tcp:2\"],\"n\":3";

	(void)state;
	log_tap(&tap);
	for (int json = 0; json < 2; json++) {
		log_setup(LOG_INFO, json, sink);
		wanted = "opened";
		say(LOG_INFO, "opened");
		assert_string_equal(last, json ? as_json : as_text);
		assert_string_equal(tapped, as_json);
		say(LOG_DEBUG, "opened");
		assert_string_equal(last, "");
		assert_non_null(strstr(tapped, "\"debug\""));
		say(LOG_INFO, "closed");
		assert_int_not_equal(last[0], '\0');
		assert_string_equal(tapped, "");
		wanted = NULL;
		say(LOG_DEBUG, "opened");
		assert_string_equal(last, "");
		assert_string_equal(tapped, "");
	}
	wanted = "opened";
	log_tap(NULL);
	say(LOG_INFO, "opened");
	assert_string_equal(tapped, "");
}

/* Addresses of one with several; between them something else begins another field. */
static void add_items(bool json)
{
	struct log_line l;

	log_setup(LOG_INFO, json, sink);
	assert_true(log_begin(&l, LOG_INFO, "serving"));
	log_item(&l, "address", "tcp:1");
	log_item(&l, "address", "a \"b\"");
	log_item(&l, "address", "");
	log_item(&l, "path", "x");
	log_uint(&l, "n", 3);
	log_end(&l);
}

static void test_items(void **state)
{
	json_t *j;

	(void)state;
	add_items(false);
	assert_string_equal(last, "info serving address=tcp:1 address=\"a \\\"b\\\"\" address=\"\" path=x n=3");
	add_items(true);
	assert_string_equal(last,
			    "\"level\":\"info\",\"event\":\"serving\",\"address\":[\"tcp:1\",\"a \\\"b\\\"\",\"\"],"
			    "\"path\":[\"x\"],\"n\":3");
	j = parse_last();
	assert_int_equal(json_array_size(json_object_get(j, "address")), 3);
	json_decref(j);
}

/* A list that does not fit is cut between two values, or in one. */
static void test_full_list(void **state)
{
	static char value[2000];

	(void)state;
	for (size_t n = 1; n < sizeof(value); n += 7) {
		struct log_line l;

		memset(value, 'x', n);
		value[n] = '\0';
		log_setup(LOG_INFO, true, sink);
		assert_true(log_begin(&l, LOG_INFO, "full"));
		for (int i = 0; i < 1000; i++)
			log_item(&l, "k", value);
		log_end(&l);
		assert_true(strlen(last) <= LOG_LINE - 64);
		json_decref(parse_last());
	}
}

static void test_levels(void **state)
{
	struct log_line l;

	(void)state;
	lines = 0;
	log_setup(LOG_WARN, false, sink);
	assert_true(log_on(LOG_ERROR));
	assert_false(log_begin(&l, LOG_INFO, "quiet"));
	log_text(LOG_DEBUG, "quiet", "nobody reads %d", 1);
	assert_int_equal(lines, 0);
	log_text(LOG_WARN, "heard", "%d of %s", 2, "two");
	assert_string_equal(last, "warn heard text=\"2 of two\"");
	log_setup(LOG_DEBUG, false, NULL);
	assert_false(log_on(LOG_ERROR));
}

static void test_quotes(void **state)
{
	(void)state;
	assert_string_equal(text_of("127.0.0.1:7007"), "warn refused v=127.0.0.1:7007");
	assert_string_equal(text_of(""), "warn refused v=\"\"");
	assert_string_equal(text_of("a b"), "warn refused v=\"a b\"");
	assert_string_equal(text_of("say \"hi\" \\"), "warn refused v=\"say \\\"hi\\\" \\\\\"");
	assert_string_equal(text_of("a=b"), "warn refused v=\"a=b\"");
	assert_string_equal(text_of("caf\xc3\xa9"), "warn refused v=\"caf\xc3\xa9\"");
	assert_string_equal(text_of("bad\xff\xc3"), "warn refused v=\"bad\\xff\\xc3\"");
	assert_string_equal(one(false, "v", "a\0b", 3), "warn refused v=\"a\\x00b\"");
}

/* What a peer would send to make a line look like another, or a field like another. */
static void test_forgery(void **state)
{
	static const char *const tricks[] = {
		"x\n2026-11-21T10:00:00.000Z info login user=root",
		"x\r\nerror",
		"x\" reason=fine \"",
		"x reason=fine",
		"\x1b[2J\x1b[31mred",
		"\xc2\x9b[31m",
		"\xe2\x80\xa8line separator",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(tricks) / sizeof(tricks[0]); i++) {
		const char *line = text_of(tricks[i]);
		size_t quotes = 0;

		for (const char *c = line; *c; c++) {
			assert_true((unsigned char)*c >= ' ');
			assert_int_not_equal((unsigned char)*c, 0x9b);
			if (*c == '\\')
				c++;
			else
				quotes += *c == '"';
		}
		assert_int_equal(quotes, 2);
		assert_int_equal(line[strlen(line) - 1], '"');

		one(true, "v", tricks[i], strlen(tricks[i]));

		json_t *j = parse_last();

		assert_string_equal(json_string_value(json_object_get(j, "v")), tricks[i]);
		assert_null(strchr(last, '\n'));
		json_decref(j);
	}
}

/* Every byte that there is, in both forms, at every length around the cut. */
static void test_cuts(void **state)
{
	static const char *const units[] = { "a",   "\"", "\n", "\xff", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80",
					     "\x01" };
	static char value[3 * 4096];

	(void)state;
	for (size_t u = 0; u < sizeof(units) / sizeof(units[0]); u++) {
		for (size_t n = 100; n < 1100; n++) {
			size_t len = strlen(units[u]);

			for (size_t i = 0; i < n; i++)
				memcpy(value + i * len, units[u], len);
			one(true, "v", value, n * len);
			assert_true(strlen(last) < 1100);
			json_decref(parse_last());
			one(false, "v", value, n * len);
			assert_true(strlen(last) < 1100);
			assert_int_equal(last[strlen(last) - 1] == '"', *units[u] != 'a');
		}
	}
	memset(value, 'x', sizeof(value));
	one(false, "v", value, 1024);
	assert_int_equal(strlen(last), strlen("warn refused v=") + 1024);
	assert_int_equal(last[strlen(last) - 1], 'x');
	one(false, "v", value, 1025);
	assert_int_equal(strlen(last), strlen("warn refused v=") + 1024);
	assert_string_equal(last + strlen(last) - 4, "x...");
}

/* A line that is full leaves fields out whole; it is never torn. */
static void test_full_line(void **state)
{
	static char value[2000];

	(void)state;
	memset(value, '\n', sizeof(value));
	for (int json = 0; json < 2; json++) {
		struct log_line l;

		log_setup(LOG_INFO, json, sink);
		assert_true(log_begin(&l, LOG_INFO, "full"));
		for (int i = 0; i < 20; i++) {
			char key[8];

			snprintf(key, sizeof(key), "k%d", i);
			log_bytes(&l, key, value, sizeof(value));
			snprintf(key, sizeof(key), "n%d", i);
			log_uint(&l, key, INT64_MAX);
		}
		log_end(&l);
		assert_true(strlen(last) <= LOG_LINE - 64);
		assert_true(strlen(last) > LOG_LINE - 400);
		if (json)
			json_decref(parse_last());
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fields),    cmocka_unit_test(test_fields_json), cmocka_unit_test(test_levels),
		cmocka_unit_test(test_quotes),    cmocka_unit_test(test_forgery),     cmocka_unit_test(test_cuts),
		cmocka_unit_test(test_full_line), cmocka_unit_test(test_items),       cmocka_unit_test(test_tap),
		cmocka_unit_test(test_full_list),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
