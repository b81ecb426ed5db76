#include "engine/par5_engine.h"

#include <algorithm>
#include <exception>
#include <new>
#include <optional>
#include <string>
#include <vector>

#include "archive/artifact.h"
#include "engine/engine.h"

struct par5_engine {
  std::optional<par5::Engine> engine;
  par5::Windows windows;
  std::string kernel, message;
  std::vector<float> last_logits;
};

namespace {

int fail(par5_engine* handle, const par5::Error& error) {
  handle->message = par5::to_string(error);
  return par5::exit_status(error.code);
}

// Runs `work`; nothing that it throws gets out.
template <class Work>
int guarded(par5_engine* handle, const Work& work) {
  try {
    handle->message.clear();
    const par5::Status status = work();
    return status ? 0 : fail(handle, status.error());
  } catch (const std::bad_alloc&) {
    handle->message = "there is not enough memory";
    return par5::exit_status(par5::ErrorCode::resource_limit);
  } catch (const std::exception& exception) {
    handle->message = exception.what();
    return par5::exit_status(par5::ErrorCode::internal);
  }
}

par5::Status open(par5_engine& handle, const char* path, const char* arithmetic, const char* kernel,
                  std::size_t threads, std::size_t capacity) {
  if (!path) return par5::usage_error("par5_engine_open needs a path");
  par5::EngineOptions options;
  if (arithmetic) {
    P5_TRY(options.arithmetic, par5::arithmetic_from_name(arithmetic));
  }
  if (kernel) options.kernel = kernel;
  options.threads = threads;
  P5_TRY(const par5::DecodedArtifact decoded, par5::read_artifact(path, threads));
  P5_TRY(par5::Engine engine, par5::Engine::create(decoded.artifact.model, options));
  const std::int64_t context = engine.model().context;
  P5_TRY(handle.windows,
         engine.make_windows(
             1, capacity ? static_cast<std::int64_t>(std::min<std::size_t>(capacity, std::size_t{1} << 30)) : context));
  handle.kernel = engine.kernel();
  handle.engine.emplace(std::move(engine));
  return {};
}

}  // namespace

int par5_engine_open(const char* path, const char* arithmetic, const char* kernel, size_t threads, size_t capacity,
                     par5_engine** engine) {
  if (!engine) return par5::exit_status(par5::ErrorCode::usage);
  *engine = nullptr;
  try {
    *engine = new par5_engine;
  } catch (const std::bad_alloc&) {
    return par5::exit_status(par5::ErrorCode::resource_limit);
  }
  return guarded(*engine, [&] { return open(**engine, path, arithmetic, kernel, threads, capacity); });
}

void par5_engine_close(par5_engine* engine) { delete engine; }

size_t par5_engine_vocab(const par5_engine* engine) {
  return engine->engine ? static_cast<std::size_t>(engine->engine->model().vocab) : 0;
}
size_t par5_engine_capacity(const par5_engine* engine) {
  return engine->engine ? static_cast<std::size_t>(engine->windows.capacity()) : 0;
}
size_t par5_engine_length(const par5_engine* engine) {
  return engine->engine ? static_cast<std::size_t>(engine->windows.length(0)) : 0;
}
const char* par5_engine_kernel(const par5_engine* engine) { return engine->kernel.c_str(); }
const char* par5_engine_message(const par5_engine* engine) { return engine->message.c_str(); }

int par5_engine_eval(par5_engine* engine, const uint16_t* tokens, size_t count, float* logits) {
  return guarded(engine, [&]() -> par5::Status {
    if (!engine->engine) return par5::usage_error("the engine is not open");
    if (count == 0) return {};
    const std::size_t vocab = par5_engine_vocab(engine);
    const par5::WindowInput input{0, {tokens, count}, logits ? 0 : static_cast<std::int64_t>(count) - 1};
    std::vector<float> last;
    P5_OK(engine->engine->append(
        engine->windows, {&input, 1}, [&](std::int64_t first, std::int64_t, std::span<const float> rows) {
          if (logits) std::copy(rows.begin(), rows.end(), logits + static_cast<std::size_t>(first) * vocab);
          last.assign(rows.end() - static_cast<std::ptrdiff_t>(vocab), rows.end());
          return par5::Status();
        }));
    engine->last_logits = std::move(last);
    return {};
  });
}

const float* par5_engine_logits(const par5_engine* engine) {
  return engine->last_logits.empty() ? nullptr : engine->last_logits.data();
}

void par5_engine_truncate(par5_engine* engine, size_t length) {
  if (!engine->engine) return;
  engine->windows.truncate(0, static_cast<std::int64_t>(std::min<std::size_t>(length, std::size_t{1} << 30)));
}
