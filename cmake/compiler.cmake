# The language, the warnings, the sanitizers and the hardening that every target gets.

set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS ON)
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(THREADS_PREFER_PTHREAD_FLAG ON)

# Programs are linked as position independent too, whatever the compiler's own default is.
include(CheckPIESupported)
check_pie_supported(LANGUAGES C)

add_compile_definitions(_GNU_SOURCE)
add_compile_options(
    -Wall
    -Wextra
    -Wconversion
    -Wshadow
    -Wstrict-prototypes
    -Wmissing-prototypes
    -fstack-protector-strong
    -fno-omit-frame-pointer)
add_link_options(-Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack)

if(FURROW_WERROR)
    add_compile_options(-Werror)
endif()

if(FURROW_SANITIZE)
    add_compile_options(-fsanitize=${FURROW_SANITIZE} -fno-sanitize-recover=all)
    add_link_options(-fsanitize=${FURROW_SANITIZE})
endif()

if(FURROW_FUZZ)
    if(NOT CMAKE_C_COMPILER_ID MATCHES "Clang")
        message(FATAL_ERROR "FURROW_FUZZ needs clang: set CMAKE_C_COMPILER=clang")
    endif()
    add_compile_options(-fsanitize=fuzzer-no-link)
endif()

# Checked string functions need an optimised build, and get in the way of the sanitizers' own.
if(NOT FURROW_SANITIZE AND NOT FURROW_FUZZ)
    add_compile_options($<$<NOT:$<CONFIG:Debug>>:-D_FORTIFY_SOURCE=2>)
endif()

if(FURROW_LTO)
    include(CheckIPOSupported)
    check_ipo_supported(LANGUAGES C)
    set(CMAKE_INTERPROCEDURAL_OPTIMIZATION ON)
endif()
