// Threads that stay: the engine hands out work many thousand times a second, each time for some microseconds.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <vector>

namespace par5 {

class ThreadPool {
 public:
  // `threads` counts the calling thread; helpers run in the exact arithmetic's floating-point mode (float_state.h).
  explicit ThreadPool(std::size_t threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;
  std::size_t threads() const { return helpers_.size() + 1; }

  // Calls work(item, thread) once for every item in [0, count), thread in [0, threads()), in no particular order. Work
  // must not throw. One call at a time.
  template <class Work>
  void run(std::size_t count, const Work& work) {
    if (count <= 1 || helpers_.empty()) {
      for (std::size_t item = 0; item < count; ++item) work(item, std::size_t{0});
      return;
    }
    run_shared(count, &work, [](const void* context, std::size_t item, std::size_t thread) {
      (*static_cast<const Work*>(context))(item, thread);
    });
  }

 private:
  using Call = void (*)(const void* context, std::size_t item, std::size_t thread);
  void run_shared(std::size_t count, const void* context, Call call);
  void help(std::size_t thread);
  bool join_round();
  void take_items(std::size_t thread);
  void await_change(const std::atomic<std::uint32_t>& value, std::uint32_t old) const;

  std::vector<std::thread> helpers_;
  const bool spins_;
  std::atomic<std::uint32_t> round_{0};  // raised for every run, and to end
  std::atomic<std::uint32_t> state_{0};  // of the round: bit 0: open; above: helpers at work
  std::atomic<std::size_t> next_{0};
  std::size_t count_ = 0;
  const void* context_ = nullptr;
  Call call_ = nullptr;
  std::atomic<bool> ending_{false};
};

}  // namespace par5
