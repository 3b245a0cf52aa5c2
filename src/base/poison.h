/*
 * poison.h - libc functions that nobody may call in src/: each has no bound, no error, or hidden state.
 * The build includes this file before everything else (cmake/flags.cmake), so no file needs to. The compiler
 * then refuses a call and says what to use; tools/check-calls has those that only a search can find.
 *
 * Not `#pragma GCC poison`: OpenSSL's headers have parameters called `rand`. And declared before the C library's
 * headers, not after them, because clang takes the attribute only from a function's first declaration.
 */
#pragma once
#include <alloca.h>

#undef alloca /* a macro there; below it is a function */

#define POISON(instead) __attribute__((unavailable(instead)))

char *strcpy(char *, const char *) POISON("use memcpy() with a known length, or struct buf");
char *strcat(char *, const char *) POISON("use buf_adds()");
int sprintf(char *, const char *, ...) POISON("use snprintf() or buf_addf()");
int vsprintf(char *, const char *, __builtin_va_list) POISON("use vsnprintf() or buf_addv()");
char *strtok(char *, const char *) POISON("use struct span, str_next_word() or strtok_r()");
char *gets(char *) POISON("use fgets() or getline()");
int atoi(const char *) POISON("use str_to_u64(), which tells a mistake from a zero");
long atol(const char *) POISON("use str_to_u64(), which tells a mistake from a zero");
long long atoll(const char *) POISON("use str_to_u64(), which tells a mistake from a zero");
void *alloca(__SIZE_TYPE__) POISON("use mem_alloc() or an array of fixed size");
int rand(void) POISON("use getrandom()");
void srand(unsigned) POISON("use getrandom()");

#undef POISON
