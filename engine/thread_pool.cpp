#include "engine/thread_pool.h"

#include <chrono>

#include "engine/float_state.h"

namespace par5 {
namespace {

// Longer than the gap between two products of one token, shorter than what a descheduled thread would waste.
constexpr std::chrono::microseconds kSpinTime(40);
constexpr int kSpinsPerLook = 32;

constexpr std::uint32_t kOpen = 1, kHelper = 2;

void pause() {
#if defined(__x86_64__) || defined(__i386__)
  _mm_pause();
#endif
}

}  // namespace

// Spins for a bounded time, then sleeps, until the value is no longer `old`.
void ThreadPool::await_change(const std::atomic<std::uint32_t>& value, std::uint32_t old) const {
  if (spins_) {
    const auto end = std::chrono::steady_clock::now() + kSpinTime;
    do {
      for (int spin = 0; spin < kSpinsPerLook; ++spin) {
        if (value.load(std::memory_order_acquire) != old) return;
        pause();
      }
    } while (std::chrono::steady_clock::now() < end);
  }
  value.wait(old, std::memory_order_acquire);
}

// With more threads than cores, spinning would only keep the others from their work.
ThreadPool::ThreadPool(std::size_t threads) : spins_(threads <= std::thread::hardware_concurrency()) {
  for (std::size_t thread = 1; thread < threads; ++thread) helpers_.emplace_back([this, thread] { help(thread); });
}

ThreadPool::~ThreadPool() {
  ending_.store(true, std::memory_order_relaxed);
  round_.fetch_add(1, std::memory_order_release);
  round_.notify_all();
  for (std::thread& helper : helpers_) helper.join();
}

// A helper takes part only if it comes while the round is open. So the caller never waits for a thread that sleeps or
// has no core: where the machine is busy, it does the work itself.
void ThreadPool::run_shared(std::size_t count, const void* context, Call call) {
  count_ = count;
  context_ = context;
  call_ = call;
  next_.store(0, std::memory_order_relaxed);
  state_.store(kOpen, std::memory_order_release);
  round_.fetch_add(1, std::memory_order_release);
  round_.notify_all();
  take_items(0);
  for (std::uint32_t left = state_.fetch_and(~kOpen, std::memory_order_acq_rel) & ~kOpen; left != 0;
       left = state_.load(std::memory_order_acquire))
    await_change(state_, left);
}

bool ThreadPool::join_round() {
  std::uint32_t state = state_.load(std::memory_order_relaxed);
  while (state & kOpen)
    if (state_.compare_exchange_weak(state, state + kHelper, std::memory_order_acq_rel)) return true;
  return false;
}

void ThreadPool::help(std::size_t thread) {
  const FloatState state;
  std::uint32_t seen = 0;
  while (true) {
    await_change(round_, seen);
    seen = round_.load(std::memory_order_acquire);
    if (ending_.load(std::memory_order_relaxed)) return;
    if (!join_round()) continue;
    take_items(thread);
    if (state_.fetch_sub(kHelper, std::memory_order_acq_rel) == kHelper) state_.notify_one();
  }
}

void ThreadPool::take_items(std::size_t thread) {
  for (std::size_t item = next_.fetch_add(1, std::memory_order_relaxed); item < count_;
       item = next_.fetch_add(1, std::memory_order_relaxed))
    call_(context_, item, thread);
}

}  // namespace par5
