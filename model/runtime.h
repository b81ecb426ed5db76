// LibTorch's process-wide settings and its border: start-up, what is reported about it, exceptions into errors.
#pragma once

#include <string>
#include <type_traits>
#include <utility>

#include "core/error.h"
#include "model/tensor.h"

namespace par5 {

// Keeps freed tensors in the process instead of giving their pages back: fresh pages for every big temporary make
// eager training several times slower. To be called once, before the first tensor. Does nothing where malloc is not
// glibc's.
void tune_allocator();

// Threads of LibTorch's loops and matrix products; 0: one per core that this process may use.
void set_threads(int threads);

// Makes MKL's vector functions (exp, tanh, …) ready. Left to the first call, two threads of it can race, and one of
// them then computes with a relative error of 3e-5, in that call only. Every network calls this; only the first call
// works.
void prepare_vector_functions();

struct RuntimeDescription {
  std::string libtorch_version;    // "2.13.0"
  std::string cpu_capability;      // what LibTorch's elementwise kernels use: "AVX512", "AVX2", "DEFAULT"
  std::string matrix_products;     // "MKL, oneDNN"
  bool bfloat16_products = false;  // the CPU multiplies bfloat16 in hardware
  int threads = 1;
};
RuntimeDescription describe_runtime();
// "LibTorch 2.13.0, AVX512, MKL, oneDNN, 2 threads"
std::string to_string(const RuntimeDescription& description);

// The error for the exception that is being handled: LibTorch's complaint about a value is a usage error, memory is a
// resource limit, anything else is par5's own fault.
Error error_from_current_exception();

// Calls `work` and turns what LibTorch throws into an error. A `work` that returns a Result or Status keeps its type.
template <class Work>
auto guarded(Work&& work) {
  using Value = std::invoke_result_t<Work>;
  constexpr bool is_result = requires(Value value) { value.error(); };
  using Guarded =
      typename std::conditional_t<is_result, std::type_identity<Value>, std::type_identity<Result<Value>>>::type;
  try {
    if constexpr (std::is_void_v<Value>) {
      std::forward<Work>(work)();
      return Status{};
    } else {
      return Guarded(std::forward<Work>(work)());
    }
  } catch (...) {
    if constexpr (std::is_void_v<Value>)
      return Status(tl::unexpected<Error>(error_from_current_exception()));
    else
      return Guarded(tl::unexpected<Error>(error_from_current_exception()));
  }
}

}  // namespace par5
