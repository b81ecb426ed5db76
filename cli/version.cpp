#include "cli/version.h"

namespace par5 {

const char* const kVersion = PAR5_VERSION;
const char* const kGitHash = PAR5_GIT_HASH;

}  // namespace par5
