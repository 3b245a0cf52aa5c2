/*
 * utf8.h - UTF-8 as Unicode (table 3-7) and RFC 3629 have it: no overlong forms, no surrogates (U+D800..U+DFFF),
 * nothing past U+10FFFF. What is well-formed but odd (controls, noncharacters, a BOM) is left alone: U+FEFF is a
 * character like others wherever it stands [MQTT-1.5.4-3]. Pure functions; nothing is copied or changed.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"

/*
 * The character that s begins with. Returns its bytes, 1 to 4, with the code point in *ret; 0 when s is empty, cut
 * short or not well-formed: *ret is then unchanged.
 */
size_t utf8_char(struct span s, uint32_t *ret);

/* All of s is well-formed; U+0000 is a character like others. */
bool utf8_valid(struct span s);

/* The same without U+0000: a UTF-8 Encoded String of MQTT [MQTT-1.5.4-1] [MQTT-1.5.4-2], a line of text elsewhere. */
bool utf8_is_text(struct span s);
