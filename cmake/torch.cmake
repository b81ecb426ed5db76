# LibTorch: $PAR5_LIBTORCH (variable or environment), else the folder that tools/setup unpacked. Versions 2.11 to 2.13.
set(PAR5_LIBTORCH "$ENV{PAR5_LIBTORCH}" CACHE PATH "Folder of LibTorch: the one that holds share/cmake/Torch")
if(NOT PAR5_LIBTORCH)
  execute_process(COMMAND ${PROJECT_SOURCE_DIR}/tools/libtorch_path OUTPUT_VARIABLE PAR5_LIBTORCH_FOUND
                  OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
else()
  set(PAR5_LIBTORCH_FOUND ${PAR5_LIBTORCH})
endif()
if(NOT EXISTS "${PAR5_LIBTORCH_FOUND}/share/cmake/Torch/TorchConfig.cmake")
  message(FATAL_ERROR "LibTorch was not found at '${PAR5_LIBTORCH_FOUND}'. Get it with `make setup`, name another one "
                      "with PAR5_LIBTORCH=DIR, or build without it: cmake --preset notorch")
endif()

# Read the version before find_package, which is slow and prints much.
file(STRINGS "${PAR5_LIBTORCH_FOUND}/include/torch/headeronly/version.h" version_lines REGEX "define TORCH_VERSION_(MAJOR|MINOR|PATCH)")
if(NOT version_lines)
  file(STRINGS "${PAR5_LIBTORCH_FOUND}/include/torch/csrc/api/include/torch/version.h" version_lines REGEX "define TORCH_VERSION_(MAJOR|MINOR|PATCH)")
endif()
string(REGEX REPLACE "[^0-9]+" "." PAR5_TORCH_VERSION "${version_lines}")
string(REGEX REPLACE "^\\.|\\.$" "" PAR5_TORCH_VERSION "${PAR5_TORCH_VERSION}")
if(PAR5_TORCH_VERSION VERSION_LESS 2.11 OR PAR5_TORCH_VERSION VERSION_GREATER_EQUAL 2.14)
  message(FATAL_ERROR "LibTorch ${PAR5_TORCH_VERSION} at ${PAR5_LIBTORCH_FOUND} is outside 2.11 … 2.13, which par5 builds with")
endif()

list(PREPEND CMAKE_PREFIX_PATH ${PAR5_LIBTORCH_FOUND})
find_package(Torch REQUIRED QUIET)
if(TORCH_CXX_FLAGS MATCHES "_GLIBCXX_USE_CXX11_ABI=0")
  message(FATAL_ERROR "LibTorch at ${PAR5_LIBTORCH_FOUND} was built with the old std::string ABI; par5 needs the new one")
endif()
if(TARGET caffe2::mkl)
  # Folders of the machine that built LibTorch.
  set_target_properties(caffe2::mkl PROPERTIES INTERFACE_LINK_DIRECTORIES "")
endif()
message(STATUS "LibTorch ${PAR5_TORCH_VERSION} at ${PAR5_LIBTORCH_FOUND} (new std::string ABI)")

# LibTorch's headers as system headers: their warnings are not ours.
add_library(par5_torch_library INTERFACE)
target_link_libraries(par5_torch_library INTERFACE ${TORCH_LIBRARIES})
get_target_property(torch_includes torch INTERFACE_INCLUDE_DIRECTORIES)
target_include_directories(par5_torch_library SYSTEM INTERFACE ${torch_includes})
# at::parallel_for is a template: without OpenMP in the unit that uses it, it runs on one thread and says nothing.
find_package(OpenMP REQUIRED COMPONENTS CXX)
target_link_libraries(par5_torch_library INTERFACE OpenMP::OpenMP_CXX)

# One precompiled header, made once and reused by every LibTorch unit: without it each costs 12 s instead of 4.
add_library(par5_torch_precompiled OBJECT ${PROJECT_SOURCE_DIR}/cmake/torch_precompiled.cpp)
target_include_directories(par5_torch_precompiled PRIVATE ${PROJECT_SOURCE_DIR})
target_link_libraries(par5_torch_precompiled PRIVATE par5_torch_library par5_warnings)
target_precompile_headers(par5_torch_precompiled PRIVATE ${PROJECT_SOURCE_DIR}/model/tensor.h)
if(CCACHE)
  # ccache takes a precompiled header into account only when told that its defines and times do not matter.
  set(PAR5_TORCH_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros ${CCACHE})
endif()

function(par5_use_torch_headers target)
  target_precompile_headers(${target} REUSE_FROM par5_torch_precompiled)
  if(CCACHE)
    set_target_properties(${target} PROPERTIES CXX_COMPILER_LAUNCHER "${PAR5_TORCH_LAUNCHER}")
    if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
      target_compile_options(${target} PRIVATE -fpch-preprocess)
    endif()
  endif()
endfunction()
function(par5_use_torch target)
  target_link_libraries(${target} PUBLIC par5_torch_library)
  par5_use_torch_headers(${target})
endfunction()
