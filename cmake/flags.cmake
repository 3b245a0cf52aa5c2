# flags.cmake - how C is compiled and linked. Two interface libraries:
#   guichet_flags   warnings, hardening and the chosen sanitizer: for everything that we compile
#   guichet_poison  makes dangerous libc functions unavailable: for src/ only (src/base/poison.h)
include(CheckCCompilerFlag)
include(CheckLinkerFlag)

add_library(guichet_flags INTERFACE)
add_library(guichet_poison INTERFACE)
target_compile_options(guichet_poison INTERFACE "SHELL:-include ${CMAKE_SOURCE_DIR}/src/base/poison.h")

target_compile_definitions(guichet_flags INTERFACE
        _GNU_SOURCE
        _FILE_OFFSET_BITS=64
        GUICHET_VERSION="${guichet_version}")

# -Wsign-conversion is left out on purpose: with it every ssize_t would need a cast that hides more than it shows.
target_compile_options(guichet_flags INTERFACE
        -g
        -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes
        -Wconversion -Wno-sign-conversion
        -Wvla -Wformat=2 -Wundef -Werror)

# Hardening that every sanitizer allows, so it is always on.
target_compile_options(guichet_flags INTERFACE -fPIE -fstack-protector-strong -fstack-clash-protection)
target_link_options(guichet_flags INTERFACE -pie LINKER:-z,relro,-z,now,-z,noexecstack,--as-needed)
check_c_compiler_flag(-fcf-protection=full HAVE_CF_PROTECTION)
if(HAVE_CF_PROTECTION) # x86 only
	target_compile_options(guichet_flags INTERFACE -fcf-protection=full)
endif()

if(GUICHET_SANITIZE STREQUAL "")
	# Fortify replaces the calls that the sanitizers want to see, so it is for release only. Calls into libraries go by one table instead
	# of two: less program text to look at in a process that lives for one client.
	target_compile_options(guichet_flags INTERFACE -O2 -flto=auto -fno-plt -ffunction-sections -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
	set(order -ffunction-sections LINKER:-T,${CMAKE_SOURCE_DIR}/cmake/child.ld)
	check_linker_flag(C "${order}" HAVE_ORDER)
	if(HAVE_ORDER)
		target_link_options(guichet_flags INTERFACE ${order})
		set_property(TARGET guichet_flags PROPERTY INTERFACE_LINK_DEPENDS ${CMAKE_SOURCE_DIR}/cmake/child.ld)
	endif()
	return()
endif()

set(sanitize_address address,undefined)
set(sanitize_thread thread)
set(sanitize_fuzz fuzzer-no-link,address,undefined)
if(NOT DEFINED sanitize_${GUICHET_SANITIZE})
	message(FATAL_ERROR "GUICHET_SANITIZE is \"${GUICHET_SANITIZE}\"; it can be address, thread or fuzz")
endif()
set(sanitize -fsanitize=${sanitize_${GUICHET_SANITIZE}} -fno-sanitize-recover=all)
target_compile_definitions(guichet_flags INTERFACE GUICHET_FAULTS) # tests make the Nth allocation or call fail
target_compile_options(guichet_flags INTERFACE -O1 -fno-omit-frame-pointer ${sanitize})
target_link_options(guichet_flags INTERFACE ${sanitize})
