# How a test is declared. Every test has a label (ctest -L unit), a time limit and the options of
# the sanitizers that make it fail on the first report.

set(furrow_test_env
    "ASAN_OPTIONS=abort_on_error=0:detect_stack_use_after_return=1:detect_leaks=1"
    "UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1"
    "TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1:suppressions=${CMAKE_SOURCE_DIR}/tests/tsan.supp"
    "LSAN_OPTIONS=print_suppressions=0")

# furrow_unit_test(<module> <libs...>) builds test_<module> from test_<module>.c of the calling
# directory and registers it with the label "unit" and a limit of 60 s.
function(furrow_unit_test module)
    furrow_test(${module} LABEL unit LIBS ${ARGN})
endfunction()

# furrow_test(<name> [LABEL label] [TIMEOUT seconds] [SOURCES files...] [LIBS libs...] [ARGS args...])
# builds test_<name>, from test_<name>.c unless SOURCES says otherwise, and registers one run of it.
# The label is the name of the directory unless given.
function(furrow_test name)
    cmake_parse_arguments(PARSE_ARGV 1 arg "" "LABEL;TIMEOUT" "SOURCES;LIBS;ARGS")
    furrow_test_program(test_${name} SOURCES ${arg_SOURCES} LIBS ${arg_LIBS})
    furrow_test_run(${name} LABEL ${arg_LABEL} TIMEOUT ${arg_TIMEOUT} COMMAND test_${name} ${arg_ARGS})
endfunction()

# furrow_test_program(<target> [SOURCES files...] [LIBS libs...]) only builds: for a program that is
# run several times, say once for each executor.
function(furrow_test_program target)
    cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;LIBS")
    if(NOT arg_SOURCES)
        set(arg_SOURCES ${target}.c)
    endif()
    add_executable(${target} ${arg_SOURCES})
    set_target_properties(${target} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR})
    target_link_libraries(${target} PRIVATE ${arg_LIBS} PkgConfig::CMOCKA Threads::Threads)
endfunction()

# furrow_test_run(<name> [LABEL label] [TIMEOUT seconds] [ENV NAME=value...] COMMAND command...)
# registers one run of a program under the name <label>.<name>.
function(furrow_test_run name)
    cmake_parse_arguments(PARSE_ARGV 1 arg "" "LABEL;TIMEOUT" "ENV;COMMAND")
    if(NOT arg_LABEL)
        get_filename_component(arg_LABEL ${CMAKE_CURRENT_SOURCE_DIR} NAME)
    endif()
    if(NOT arg_TIMEOUT)
        set(arg_TIMEOUT 60)
    endif()
    if(FURROW_SANITIZE)
        math(EXPR arg_TIMEOUT "${arg_TIMEOUT} * 5") # their programs are that much slower
    endif()
    add_test(NAME ${arg_LABEL}.${name} COMMAND ${arg_COMMAND})
    set_tests_properties(
        ${arg_LABEL}.${name}
        PROPERTIES
            LABELS ${arg_LABEL}
            TIMEOUT ${arg_TIMEOUT}
            ENVIRONMENT "${furrow_test_env};${arg_ENV}")
endfunction()
