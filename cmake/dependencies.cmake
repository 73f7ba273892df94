# What Furrow needs from the system, each as an imported target. pkg-config is asked rather than
# CMake packages, because msgpack-c changed the name of its CMake package between versions.
#
#   Threads::Threads  PkgConfig::ZMQ  PkgConfig::MSGPACK
#   PkgConfig::JANSSON    if it is there: `furrow status --json`
#   PkgConfig::MICROHTTPD if it is there: `furrow-broker --metrics`
#   PkgConfig::PNG     if FURROW_EXAMPLES
#   PkgConfig::CMOCKA  if FURROW_TESTS

find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)

# Asked anew each time: from its cache CMake would make other flags of libzmq's -isystem than it did at
# first, and so the second configuration would have everything compiled again that uses it.
unset(__pkg_config_checked_ZMQ CACHE)
pkg_check_modules(ZMQ REQUIRED IMPORTED_TARGET libzmq)

# The C library is called msgpack-c since version 6, msgpack before.
pkg_search_module(MSGPACK REQUIRED IMPORTED_TARGET msgpack-c msgpack)

# What is missing of these the programs do without, and say so when asked.
pkg_check_modules(JANSSON IMPORTED_TARGET jansson)
pkg_check_modules(MICROHTTPD IMPORTED_TARGET libmicrohttpd)

if(FURROW_EXAMPLES)
    pkg_check_modules(PNG REQUIRED IMPORTED_TARGET libpng)
endif()
if(FURROW_TESTS)
    pkg_check_modules(CMOCKA REQUIRED IMPORTED_TARGET cmocka)
endif()
