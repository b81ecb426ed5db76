#include "bench/engine_library.h"

namespace par5::bench {

std::string library_name() { return {}; }
void set_library_threads(int) {}
std::function<void()> library_products(const StoredModel&, std::int64_t, LibraryType) { return {}; }
std::unique_ptr<LibraryModel> library_model(const StoredModel&) { return {}; }

}  // namespace par5::bench
