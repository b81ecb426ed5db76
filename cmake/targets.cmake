# Third-party libraries of each folder, the two programs, and the tests.

# The loops of core/half.cpp over arrays become vectors; no one looks at the processor's floating-point flags.
set_source_files_properties(${PROJECT_SOURCE_DIR}/core/half.cpp PROPERTIES COMPILE_OPTIONS "-O3;-fno-trapping-math")
target_link_libraries(par5_core PUBLIC Threads::Threads
  PRIVATE PkgConfig::libxxhash PkgConfig::libcrypto PkgConfig::tomlplusplus PkgConfig::fmt PkgConfig::spdlog)
if(TARGET par5_tokenizer)
  target_link_libraries(par5_tokenizer PRIVATE PkgConfig::sentencepiece ${SENTENCEPIECE_TRAIN} PkgConfig::liblzma PkgConfig::libzstd)
endif()
if(TARGET par5_pack)
  target_link_libraries(par5_pack PRIVATE PkgConfig::libhwy)
endif()
if(TARGET par5_model)
  target_link_libraries(par5_model PRIVATE PkgConfig::libhwy)
  # The kernels know nothing of LibTorch and need not wait for its headers.
  set_source_files_properties(model/row_kernels.cpp model/attention_kernels.cpp model/causal_attention_kernels.cpp model/head_kernels.cpp model/integer_kernels.cpp model/integer_packing.cpp model/int16_kernels.cpp model/word_transpose.cpp
                              PROPERTIES SKIP_PRECOMPILE_HEADERS ON)
endif()
if(TARGET par5_archive)
  target_link_libraries(par5_archive PRIVATE PkgConfig::liblzma PkgConfig::libzstd PkgConfig::libbrotlienc PkgConfig::libbrotlidec)
endif()
if(TARGET par5_engine)
  target_link_libraries(par5_engine PRIVATE PkgConfig::libhwy)
endif()
if(TARGET par5_eval)
  target_link_libraries(par5_eval PRIVATE PkgConfig::liblzma PkgConfig::libzstd PkgConfig::libbrotlienc)
endif()
if(TARGET par5_budgets_foreign)
  target_link_libraries(par5_budgets_foreign PRIVATE PkgConfig::zlib PkgConfig::liblzma PkgConfig::libbrotlidec PkgConfig::libzstd)
endif()
# The .toml files of a folder become text in the program, so that it needs no installed data: function() gives (name, text) pairs.
function(par5_embed_toml target folder header function)
  file(GLOB toml_files CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/${folder}/*.toml)
  set(entries "")
  foreach(toml_file IN LISTS toml_files)
    get_filename_component(toml_name ${toml_file} NAME_WE)
    file(READ ${toml_file} toml_text)
    string(APPEND entries "      {\"${toml_name}\", R\"toml(${toml_text})toml\"},\n")
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${toml_file})
  endforeach()
  file(CONFIGURE OUTPUT ${function}.cpp @ONLY CONTENT [[
#include "@header@"

namespace par5 {

const std::vector<std::pair<std::string_view, std::string_view>>& @function@() {
  static const std::vector<std::pair<std::string_view, std::string_view>> files = {
@entries@  };
  return files;
}

}  // namespace par5
]])
  target_sources(${target} PRIVATE ${PROJECT_BINARY_DIR}/${function}.cpp)
  target_link_libraries(${target} PRIVATE PkgConfig::tomlplusplus)
endfunction()
if(TARGET par5_budgets_records)
  par5_embed_toml(par5_budgets_records budgets/registry budgets/records/builtin_registry.h builtin_registry)
endif()
if(TARGET par5_budgets)
  par5_embed_toml(par5_budgets budgets/rules budgets/builtin_rules.h builtin_rules)
  target_link_libraries(par5_budgets PRIVATE PkgConfig::liblzma)
endif()

execute_process(COMMAND git -C ${PROJECT_SOURCE_DIR} rev-parse --short=12 HEAD OUTPUT_VARIABLE PAR5_GIT_HASH
                OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
if(NOT PAR5_GIT_HASH)
  set(PAR5_GIT_HASH unknown)
endif()

set_source_files_properties(${PROJECT_SOURCE_DIR}/cli/version.cpp PROPERTIES COMPILE_DEFINITIONS
                            "PAR5_VERSION=\"${PAR5_VERSION}\";PAR5_GIT_HASH=\"${PAR5_GIT_HASH}\"")

# par5: LibTorch-free. par5-torch: LibTorch, and therefore never SentencePiece.
function(par5_program name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LIBRARIES" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  foreach(library IN LISTS ARG_LIBRARIES)
    if(TARGET ${library})
      target_link_libraries(${name} PRIVATE ${library})
    endif()
  endforeach()
  target_link_libraries(${name} PRIVATE par5_warnings)
endfunction()

file(GLOB par5_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/cli/*.cpp)
par5_program(par5 SOURCES ${par5_sources}
             LIBRARIES par5_report par5_budgets par5_eval_coding par5_eval par5_engine par5_archive par5_pack par5_tokenizer par5_core)
if(PAR5_TORCH)
  file(GLOB par5_torch_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/cli/torch/*.cpp)
  par5_program(par5-torch SOURCES ${par5_torch_sources} cli/command.cpp cli/ledger_audit.cpp cli/version.cpp
               LIBRARIES par5_eval_torch par5_train par5_model par5_eval par5_archive par5_pack par5_core)
endif()

if(PAR5_BUILD_TESTS)
  enable_testing()
  add_subdirectory(tests)
endif()
if(PAR5_FUZZ)
  add_subdirectory(tests/fuzz)
endif()
if(PAR5_BUILD_BENCHMARKS)
  add_subdirectory(bench)
endif()
