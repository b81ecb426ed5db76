#include "engine/thread_pool.h"

#include "engine/float_state.h"

namespace par5 {
namespace {

// Some microseconds: longer than the gap between two products, shorter than what a descheduled thread would waste.
constexpr int kSpins = 4000;

void pause() {
#if defined(__x86_64__) || defined(__i386__)
  _mm_pause();
#endif
}

}  // namespace

// Spins for a bounded time, then sleeps, until the value is no longer `old`.
void ThreadPool::await_change(const std::atomic<std::uint32_t>& value, std::uint32_t old) const {
  for (int spin = 0; spin < spins_; ++spin) {
    if (value.load(std::memory_order_acquire) != old) return;
    pause();
  }
  value.wait(old, std::memory_order_acquire);
}

// With more threads than cores, spinning would only keep the others from their work.
ThreadPool::ThreadPool(std::size_t threads) : spins_(threads <= std::thread::hardware_concurrency() ? kSpins : 0) {
  for (std::size_t thread = 1; thread < threads; ++thread) helpers_.emplace_back([this, thread] { help(thread); });
}

ThreadPool::~ThreadPool() {
  ending_ = true;
  round_.fetch_add(1, std::memory_order_release);
  round_.notify_all();
  for (std::thread& helper : helpers_) helper.join();
}

void ThreadPool::run_shared(std::size_t count, const void* context, Call call) {
  count_ = count;
  context_ = context;
  call_ = call;
  next_.store(0, std::memory_order_relaxed);
  busy_.store(static_cast<std::uint32_t>(helpers_.size()), std::memory_order_relaxed);
  round_.fetch_add(1, std::memory_order_release);
  round_.notify_all();
  take_items(0);
  for (std::uint32_t left = busy_.load(std::memory_order_acquire); left != 0;
       left = busy_.load(std::memory_order_acquire))
    await_change(busy_, left);
}

void ThreadPool::help(std::size_t thread) {
  const FloatState state;
  std::uint32_t seen = 0;
  while (true) {
    await_change(round_, seen);
    const std::uint32_t now = round_.load(std::memory_order_acquire);
    if (now == seen) continue;
    seen = now;
    if (ending_) return;
    take_items(thread);
    if (busy_.fetch_sub(1, std::memory_order_acq_rel) == 1) busy_.notify_one();
  }
}

void ThreadPool::take_items(std::size_t thread) {
  for (std::size_t item = next_.fetch_add(1, std::memory_order_relaxed); item < count_;
       item = next_.fetch_add(1, std::memory_order_relaxed))
    call_(context_, item, thread);
}

}  // namespace par5
