#include "model/runtime.h"

#include <ATen/Config.h>
#include <ATen/Context.h>
#include <malloc.h>
#include <torch/headeronly/version.h>

#include <new>
#include <thread>

#include "core/parallel.h"
#include "model/tensor.h"

namespace par5 {

void tune_allocator() {
#ifdef __GLIBC__
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, -1);
  mallopt(M_TOP_PAD, 64 << 20);
#endif
}

void set_threads(int threads) {
  at::set_num_threads(static_cast<int>(thread_count(threads < 0 ? 0 : static_cast<std::size_t>(threads))));
}

void prepare_vector_functions() {
  // So few values that they stay on this thread; any of the functions will do, in either type.
  [[maybe_unused]] static const torch::Tensor ready =
      at::tanh(torch::zeros({16})) + at::tanh(torch::zeros({16}, torch::kFloat64));
}

RuntimeDescription describe_runtime() {
  RuntimeDescription description;
  description.libtorch_version = TORCH_VERSION;
  description.cpu_capability = at::get_cpu_capability();
  const auto add = [&](bool present, const char* name) {
    if (present) description.matrix_products += (description.matrix_products.empty() ? "" : ", ") + std::string(name);
  };
  add(at::hasMKL(), "MKL");
  add(at::hasMKLDNN(), "oneDNN");
  if (description.matrix_products.empty()) description.matrix_products = "neither MKL nor oneDNN";
#ifdef __x86_64__
  description.bfloat16_products = at::hasMKLDNN() && __builtin_cpu_supports("avx512bf16");
#endif
  description.threads = at::get_num_threads();
  return description;
}

std::string to_string(const RuntimeDescription& description) {
  return "LibTorch " + description.libtorch_version + ", " + description.cpu_capability + ", " +
         description.matrix_products + (description.bfloat16_products ? " with bfloat16 instructions, " : ", ") +
         std::to_string(description.threads) + (description.threads == 1 ? " thread" : " threads");
}

Error error_from_current_exception() {
  Error error;
  try {
    throw;
  } catch (const c10::ValueError& exception) {
    error.code = ErrorCode::usage;
    error.message = exception.what_without_backtrace();
  } catch (const c10::OutOfMemoryError& exception) {
    error.code = ErrorCode::resource_limit;
    error.message = exception.what_without_backtrace();
  } catch (const c10::Error& exception) {
    error.message = std::string("LibTorch: ") + exception.what_without_backtrace();
    // The CPU allocator reports exhaustion as a plain error.
    if (error.message.find("not enough memory") != std::string::npos) error.code = ErrorCode::resource_limit;
  } catch (const std::bad_alloc&) {
    error.code = ErrorCode::resource_limit;
    error.message = "out of memory";
  } catch (const std::exception& exception) {
    error.message = exception.what();
  }
  return error;
}

}  // namespace par5
