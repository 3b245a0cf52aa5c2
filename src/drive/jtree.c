/* jtree.c - see jtree.h. jansson refuses to put anything into NULL, and frees it. */
#include "drive/jtree.h"

#include "base/buf.h"

static void lost(json_t **whole)
{
	json_decref(*whole);
	*whole = NULL;
}

void jtree_set(json_t **object, const char *key, json_t *v)
{
	if (json_object_set_new(*object, key, v) < 0)
		lost(object);
}

void jtree_append(json_t **array, json_t *v)
{
	if (json_array_append_new(*array, v) < 0)
		lost(array);
}

json_t *jtree_text(struct span s)
{
	BUF_AUTO struct buf text = BUF_INIT(6 * s.n + 3); /* each byte as \u0000, two quotes and the end */

	buf_add_json(&text, s);
	return text.err ? NULL : json_loads(buf_str(&text), JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
}
