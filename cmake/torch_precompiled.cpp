// The one unit that owns the precompiled LibTorch header; the other targets reuse it (cmake/torch.cmake).
