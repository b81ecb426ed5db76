// Work shared among threads: a loop whose iterations are independent.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace par5 {

// The number of threads for `requested` (0: one per core that this process may use).
inline std::size_t thread_count(std::size_t requested) {
  return requested ? requested : std::max<std::size_t>(1, std::thread::hardware_concurrency());
}

// Calls work(i) once for every i in [0, count), on up to `threads` threads, in no particular order. The result must
// not depend on the order. An exception (bad_alloc) ends the loop and is thrown again here.
template <class Work>
void parallel_for(std::size_t count, std::size_t threads, Work&& work) {
  threads = std::min(thread_count(threads), count);
  std::atomic<std::size_t> next{0};
  std::exception_ptr failure;
  std::mutex failure_mutex;
  const auto run = [&] {
    try {
      for (std::size_t i = next++; i < count; i = next++) work(i);
    } catch (...) {
      const std::lock_guard lock(failure_mutex);
      failure = std::current_exception();
      next = count;
    }
  };
  std::vector<std::thread> helpers;
  for (std::size_t t = 1; t < threads; ++t) helpers.emplace_back(run);
  run();
  for (std::thread& helper : helpers) helper.join();
  if (failure) std::rethrow_exception(failure);
}

}  // namespace par5
