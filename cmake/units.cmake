# The systemd units, with the path of the programs where they are installed: known only then, as
# `cmake --install --prefix` may say so. Beside the prefix, where systemd looks for units of
# /usr and /usr/local.
set(unit_dir lib/systemd/system)
install(
    CODE "
    set(bindir \${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_BINDIR})
    foreach(unit furrow-broker.service furrow-worker@.service)
        configure_file(
            \"${CMAKE_SOURCE_DIR}/deploy/systemd/\${unit}.in\" \"${CMAKE_BINARY_DIR}/\${unit}\" @ONLY)
    endforeach()")
install(FILES ${CMAKE_BINARY_DIR}/furrow-broker.service ${CMAKE_BINARY_DIR}/furrow-worker@.service
        DESTINATION ${unit_dir})
