// Ctrl-C and SIGTERM: long work asks `cancelled()` between steps and returns `interrupted()`, so that destructors
// remove half-written files. A second signal ends the process at once.
#pragma once

namespace par5 {

void install_signal_handlers();
bool cancelled();

}  // namespace par5
