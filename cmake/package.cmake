# package.cmake - the Debian package: CPack's DEB generator over the install rules below. ./dev package calls it.
include(GNUInstallDirs)

install(TARGETS guichet DESTINATION ${CMAKE_INSTALL_BINDIR})
# The documents keep their places beside each other, so that their links lead somewhere; tools/package checks that.
install(FILES README.md CHANGELOG.md ARCHITECTURE.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(FILES packaging/guichet.service DESTINATION ${CMAKE_INSTALL_DOCDIR}/packaging)
install(DIRECTORY docs examples DESTINATION ${CMAKE_INSTALL_DOCDIR}
        FILES_MATCHING PATTERN *.md PATTERN *.conf PATTERN *.tsv)
install(DIRECTORY src/proto DESTINATION ${CMAKE_INSTALL_DOCDIR}/src
        FILES_MATCHING PATTERN *.md PATTERN cases EXCLUDE PATTERN common EXCLUDE)
install(FILES ${CMAKE_BINARY_DIR}/guichet.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions
        RENAME guichet OPTIONAL)
install(FILES ${CMAKE_BINARY_DIR}/guichet.1.gz DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 OPTIONAL)

# These two have the same place whatever the prefix is. The service has no folder of its own to write but
# /var/lib/guichet, so that is where the installed configuration keeps its data.
install(FILES packaging/guichet.service DESTINATION /lib/systemd/system)
set(example examples/guichet.conf)
if(EXISTS ${CMAKE_SOURCE_DIR}/${example})
	set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${example})
	file(READ ${example} conf)
	string(REGEX REPLACE "\ndata *=[^\n]*" "\ndata = /var/lib/guichet" conf "${conf}")
	file(WRITE ${CMAKE_BINARY_DIR}/guichet.conf "${conf}")
	install(FILES ${CMAKE_BINARY_DIR}/guichet.conf DESTINATION /etc/guichet)
endif()

set(CPACK_GENERATOR DEB)
string(REPLACE "-" "~" CPACK_PACKAGE_VERSION "${guichet_version}") # Debian has 0.2.0~dev before 0.2.0
set(CPACK_PACKAGE_CONTACT "Guichet developers <guichet@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "${PROJECT_DESCRIPTION}")
set(CPACK_PACKAGE_DESCRIPTION
"The classic Internet protocols over one shared core: one configuration, every transport,
and for each service the way it is served (an event loop, a thread per client, ...) by one word.")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_SET_DESTDIR ON) # for the absolute places above
set(CPACK_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION net)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA
        ${CMAKE_SOURCE_DIR}/packaging/conffiles
        ${CMAKE_SOURCE_DIR}/packaging/postinst
        ${CMAKE_SOURCE_DIR}/packaging/prerm
        ${CMAKE_SOURCE_DIR}/packaging/postrm)
include(CPack)
