# tests.cmake - unit tests (cmocka) in the asan and tsan builds, libFuzzer targets in the fuzz build, neither in release.
#   src/**/test_x.c, tests/unit/test_x.c  one program and one CTest test, both named test_x
#   src/**/fuzz_x.c                       one program, named fuzz_x
#   tests/support/*.c                     a library of helpers for both; #include "support/x.h"
# They run in the root of the source tree, so they open tests/corpus/... and src/proto/... by those names.
if(GUICHET_SANITIZE STREQUAL "")
	return()
endif()

pkg_check_modules(cmocka REQUIRED IMPORTED_TARGET cmocka)
enable_testing()

file(GLOB support CONFIGURE_DEPENDS tests/support/*.c)
add_library(support STATIC ${support})
target_include_directories(support PUBLIC tests)
target_link_libraries(support PUBLIC guichet_lib PkgConfig::cmocka PRIVATE guichet_flags)
target_link_options(support INTERFACE LINKER:--undefined=__lsan_is_turned_off) # tests/support/failed.c, always

# Makes the program of one file, named after it. Two files of one name would overwrite each other: say so.
function(add_program file)
	cmake_path(GET file STEM name)
	if(TARGET ${name})
		get_target_property(other ${name} SOURCES)
		message(FATAL_ERROR "two programs would be called ${name}; rename one of:\n  ${other}\n  ${file}")
	endif()
	add_executable(${name} ${file})
	target_link_libraries(${name} PRIVATE support guichet_lib guichet_flags ${ARGN})
	set(name ${name} PARENT_SCOPE)
endfunction()

if(GUICHET_SANITIZE STREQUAL "fuzz")
	file(GLOB_RECURSE fuzzers CONFIGURE_DEPENDS src/fuzz_*.c)
	foreach(file IN LISTS fuzzers)
		add_program(${file} guichet_poison)
		# A property of the source, because its flags come last. LLVMFuzzerTestOneInput has no header.
		set_source_files_properties(${file} PROPERTIES COMPILE_OPTIONS -Wno-missing-prototypes)
		target_link_options(${name} PRIVATE -fsanitize=fuzzer)
	endforeach()
	return()
endif()

file(GLOB_RECURSE tests CONFIGURE_DEPENDS src/test_*.c)
file(GLOB unit_tests CONFIGURE_DEPENDS tests/unit/test_*.c)
foreach(file IN LISTS tests unit_tests)
	cmake_path(RELATIVE_PATH file OUTPUT_VARIABLE path)
	set(threads OFF)
	if(path MATCHES "drive|model|thread") # where threads meet: these run under TSan too
		set(threads ON)
	elseif(GUICHET_SANITIZE STREQUAL "thread")
		continue()
	endif()
	if(path MATCHES "^src/")
		add_program(${file} guichet_poison)
	else()
		add_program(${file})
	endif()
	# Tests cut texts on purpose, and gcc's warning about that depends on what it inlined.
	set_source_files_properties(${file} PROPERTIES COMPILE_OPTIONS -Wno-format-truncation)
	add_test(NAME ${name} COMMAND ${name} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
	set_tests_properties(${name} PROPERTIES TIMEOUT 120 ENVIRONMENT
	        "ASAN_OPTIONS=detect_leaks=1:detect_stack_use_after_return=1;UBSAN_OPTIONS=print_stacktrace=1;TSAN_OPTIONS=second_deadlock_stack=1")
	if(threads)
		set_tests_properties(${name} PROPERTIES LABELS tsan)
	endif()
endforeach()
