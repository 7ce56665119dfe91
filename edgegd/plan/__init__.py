"""The quantization plan as plain data: formats, profiles, planning, the plan and its checks. No torch."""
