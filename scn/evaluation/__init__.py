"""Evaluation: PSNR and SSIM of restored images under named protocols, over evaluation sets, and the report."""
