"""The vocabulary: frozen values of the plan, the recording, the verdict and the comparison."""
