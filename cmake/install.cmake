# What `cmake --install` puts where: the library and its header, the programs, furrow.pc, the CMake
# package, the manual pages, the systemd units. Included last, when all targets are there.

include(CMakePackageConfigHelpers)

if(NOT FURROW_SANITIZE AND NOT FURROW_FUZZ)
    # The library names everything it needs; the sanitizers' runtimes come with the program.
    target_link_options(furrow PRIVATE -Wl,-z,defs)
endif()
target_include_directories(
    furrow INTERFACE $<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}/libclient/include>
                     $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)

install(
    TARGETS furrow
    EXPORT furrowTargets
    LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES libclient/include/furrow.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
foreach(program furrow-broker furrow-worker)
    if(TARGET ${program})
        # They find the library beside them, wherever the prefix is.
        set_target_properties(${program} PROPERTIES INSTALL_RPATH "$ORIGIN/../${CMAKE_INSTALL_LIBDIR}")
        install(TARGETS ${program} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
    endif()
endforeach()

# An installation may be moved: furrow.pc finds its prefix from where it is itself.
file(RELATIVE_PATH furrow_pc_to_prefix /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
string(REGEX REPLACE "/$" "" furrow_pc_to_prefix ${furrow_pc_to_prefix})
configure_file(cmake/furrow.pc.in furrow.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/furrow.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/furrow)
configure_package_config_file(
    cmake/furrowConfig.cmake.in ${CMAKE_BINARY_DIR}/furrowConfig.cmake
    INSTALL_DESTINATION ${package_dir}
    NO_SET_AND_CHECK_MACRO NO_CHECK_REQUIRED_COMPONENTS_MACRO)
write_basic_package_version_file(
    ${CMAKE_BINARY_DIR}/furrowConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(
    FILES ${CMAKE_BINARY_DIR}/furrowConfig.cmake ${CMAKE_BINARY_DIR}/furrowConfigVersion.cmake
    DESTINATION ${package_dir})
install(
    EXPORT furrowTargets
    NAMESPACE furrow::
    DESTINATION ${package_dir})

foreach(section 1 3 5 7 8)
    file(GLOB pages ${CMAKE_SOURCE_DIR}/docs/man/*.${section})
    if(pages)
        install(FILES ${pages} DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section})
    endif()
endforeach()
include(cmake/units.cmake)
install(FILES README.md CHANGELOG.md LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
