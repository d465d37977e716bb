"""The routes that an application mounts, once and framework-free: requests in, responses out."""
