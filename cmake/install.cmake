# `cmake --install BUILD --component engine --prefix DIR`: the exact engine as a small library for other programs, with
# its C interface (par5_engine.h), the headers of the C++ one, and a pkg-config file.
include(GNUInstallDirs)
set(engine_libraries par5_engine par5_archive par5_archive_coder par5_pack par5_core)
install(TARGETS ${engine_libraries} ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT engine)
install(FILES engine/par5_engine.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT engine)
foreach(header IN ITEMS engine.h arithmetic.h sampler.h learner.h)
  install(FILES engine/${header} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/par5/engine COMPONENT engine)
endforeach()
foreach(folder IN ITEMS core pack archive)
  install(DIRECTORY ${folder} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/par5 COMPONENT engine
          FILES_MATCHING PATTERN "*.h" PATTERN "coder" EXCLUDE)
endforeach()
list(TRANSFORM engine_libraries PREPEND -l OUTPUT_VARIABLE engine_flags)
list(JOIN engine_flags " " engine_flags)
file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/par5-engine.pc @ONLY CONTENT [[
prefix=${pcfiledir}/../..
Name: par5-engine
Description: @PROJECT_DESCRIPTION@: the exact inference engine
Version: @PROJECT_VERSION@
Requires.private: libxxhash libcrypto liblzma libzstd libbrotlienc libbrotlidec libhwy tomlplusplus fmt spdlog
Libs: -L${prefix}/@CMAKE_INSTALL_LIBDIR@ @engine_flags@
Libs.private: -lstdc++ -lm -pthread
Cflags: -I${prefix}/@CMAKE_INSTALL_INCLUDEDIR@ -I${prefix}/@CMAKE_INSTALL_INCLUDEDIR@/par5
]])
install(FILES ${PROJECT_BINARY_DIR}/par5-engine.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT engine)
