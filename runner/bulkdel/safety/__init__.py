"""Every refusal before the first deletion: checks of the settings, exclude files and the sample of ids."""
